/**
 * Files that `install` writes and updates, unless the administrator has changed them.
 *
 * @module
 */
import { dirname } from "@std/path";
import type { InstalledFile } from "./units.ts";

/** The outcome for a file; `kept`: it was changed, and ours is beside it as `.new`. */
export type WriteOutcome = "written" | "updated" | "unchanged" | "kept";

const STAMP =
  /(?<![^\n])# mailapp install: ([0-9a-f]{64}), changed by hand if the lines above have another SHA-256\n(?![^\n])/;

/** Writes a file, unless it was changed since `install` wrote it. */
export async function writeInstalled({ path, text, mode }: InstalledFile): Promise<WriteOutcome> {
  const stamped = text +
    `# mailapp install: ${await sha256(text)}, changed by hand if the lines above have another SHA-256\n`;
  await Deno.mkdir(dirname(path), { recursive: true, mode: 0o755 });
  let present: string | undefined;
  try {
    present = await Deno.readTextFile(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  if (present === stamped) return "unchanged";
  const ours = present === undefined || await isAsWritten(present);
  await replace(ours ? path : `${path}.new`, { text: stamped, mode });
  return !ours ? "kept" : present === undefined ? "written" : "updated";
}

/** Removes a file that `install` has written, unless it was changed since; whether none is there now. */
export async function removeInstalled(path: string): Promise<boolean> {
  let present: string;
  try {
    present = await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return true;
    throw error;
  }
  if (!await isAsWritten(present)) return false;
  await Deno.remove(path);
  return true;
}

async function isAsWritten(text: string): Promise<boolean> {
  const [stamp, hash] = STAMP.exec(text) ?? [];
  return stamp !== undefined && text.endsWith(stamp) && await sha256(text.slice(0, -stamp.length)) === hash;
}

async function replace(
  path: string,
  { text, mode }: { readonly text: string; readonly mode: number },
): Promise<void> {
  const temporary = `${path}.mailapp-tmp`;
  await Deno.remove(temporary).catch(() => {});
  await Deno.writeTextFile(temporary, text, { createNew: true });
  await Deno.chmod(temporary, mode);
  await Deno.rename(temporary, path);
}

async function sha256(text: string): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))).toHex();
}
