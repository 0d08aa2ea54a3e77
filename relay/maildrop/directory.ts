/**
 * The maildrop: a directory in which every account of the machine may leave messages for serve-out, without seeing
 * those of others.
 *
 * @module
 */
import { join } from "@std/path";

/**
 * Its mode: whoever makes a file owns it and may take it back (sticky); it gets the directory's group, which reads it
 * (setgid); others may make files, not list them.
 */
export const MAILDROP_MODE = 0o3733;

/** The mode of a complete message. Until then only its owner may read it. */
export const DROPPED_MODE = 0o640;

/** Names that are hard to guess, since knowing one reveals when it was written. */
export const DROPPED_NAME = /^[0-9a-f]{32}$/;

/** Where the maildrop of a data directory is. */
export function maildropDirectory(dataDir: string): string {
  return join(dataDir, "maildrop");
}

/** Why a directory is not a valid maildrop; `undefined` if it is. */
export function maildropFault(
  { isDirectory, mode }: Pick<Deno.FileInfo, "isDirectory" | "mode">,
): string | undefined {
  if (!isDirectory) return "is not a directory";
  const bits = (mode ?? 0) & 0o7777;
  return bits === MAILDROP_MODE
    ? undefined
    : `has mode ${bits.toString(8)} instead of ${MAILDROP_MODE.toString(8)}`;
}

/** How many messages wait there; 0 where this account has no permission. */
export async function countDropped(directory: string): Promise<number> {
  let count = 0;
  try {
    for await (const { name, isFile } of Deno.readDir(directory)) {
      if (isFile && DROPPED_NAME.test(name)) count++;
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied)) {
      throw error;
    }
  }
  return count;
}

/**
 * Makes the maildrop, or gives it its mode.
 * @throws what the system throws; a systemd unit may forbid setgid
 */
export async function makeMaildrop(directory: string): Promise<void> {
  await Deno.mkdir(directory, { mode: 0o700 }).catch((error) => {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  });
  if (maildropFault(await Deno.lstat(directory)) === undefined) return;
  await Deno.chmod(directory, MAILDROP_MODE);
}
