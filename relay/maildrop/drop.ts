/**
 * Leaves a message in the maildrop, with the rights of any account.
 *
 * @module
 */
import { join } from "@std/path";
import { type FileHandle, open } from "node:fs/promises";
import { freeSpace } from "../../storage/free_space.ts";
import { DROPPED_MODE, maildropFault } from "./directory.ts";
import { type DroppedHead, formatDroppedHead, MAX_DROPPED_RECIPIENTS } from "./dropped_head.ts";

/** What {@linkcode drop} needs. */
export interface DropOptions {
  /** The maildrop. */
  readonly directory: string;
  /** Octets that must stay free beside the message. */
  readonly minFreeSpace: number;
  /** Makes the file's name durable. The account need not be able to open the directory, so fsync(2) may not do. */
  readonly syncDirectory: (directory: string, file: string) => Promise<void>;
}

/** The message cannot be left there. */
export class DropError extends Error {
  /** `message` says why. */
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "DropError";
  }
}

/**
 * Leaves a message, in several files where its recipients are too many for one: all of them or none, so that a program
 * that tries again sends nothing twice. It is durable when this resolves.
 * @throws {DropError} when there is no maildrop, or no room
 */
export async function dropMessage(
  head: DroppedHead,
  message: Uint8Array,
  options: DropOptions,
): Promise<void> {
  const { directory, minFreeSpace, syncDirectory } = options;
  const dropped: Dropped[] = [];
  try {
    const info = await Deno.lstat(directory);
    const fault = maildropFault(info);
    if (fault !== undefined) throw new DropError(`${directory} ${fault}`);
    const firsts = partsOf(head).map(formatDroppedHead);
    const needed = firsts.reduce((sum, first) => sum + first.length + message.length, minFreeSpace);
    if (await freeSpace(directory) < needed) {
      throw new DropError(`there is too little free space in ${directory}`);
    }
    for (const first of firsts) {
      const path = join(directory, crypto.getRandomValues(new Uint8Array(16)).toHex());
      const file = await open(path, "wx", 0o600);
      dropped.push({ path, file });
      await fill(file, { parts: [first, message], gid: info.gid });
    }
    // From here on serve-out takes them.
    for (const { file } of dropped) await file.chmod(DROPPED_MODE);
    for (const { file } of dropped) await file.sync();
    for (const { file } of dropped) await file.close();
    for (const { path } of dropped.slice(-1)) await syncDirectory(directory, path);
  } catch (error) {
    for (const { path, file } of dropped) {
      await file.close().catch(() => {});
      await Deno.remove(path).catch(() => {});
    }
    if (error instanceof DropError || !(error instanceof Error)) throw error;
    throw new DropError(error.message, { cause: error });
  }
}

interface Dropped {
  readonly path: string;
  readonly file: FileHandle;
}

/** The same with no more recipients than a file may have. */
function partsOf({ recipients, ...head }: DroppedHead): DroppedHead[] {
  const count = Math.max(1, Math.ceil(recipients.length / MAX_DROPPED_RECIPIENTS));
  return Array.from({ length: count }, (_, index) => {
    const from = index * MAX_DROPPED_RECIPIENTS;
    return { ...head, recipients: recipients.slice(from, from + MAX_DROPPED_RECIPIENTS) };
  });
}

async function fill(
  file: FileHandle,
  { parts, gid }: { readonly parts: readonly Uint8Array[]; readonly gid: number | null },
): Promise<void> {
  for (const part of parts) {
    for (let written = 0; written < part.length;) {
      written += (await file.write(part, written, part.length - written)).bytesWritten;
    }
  }
  // serve-out reads it through its group.
  if ((await file.stat()).gid !== gid) {
    throw new DropError("a file there does not get the group of the directory");
  }
  await file.sync();
}
