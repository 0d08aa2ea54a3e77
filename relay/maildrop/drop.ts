/**
 * Leaves a message in the maildrop, with the rights of any account.
 *
 * @module
 */
import { join } from "@std/path";
import { type FileHandle, open } from "node:fs/promises";
import { freeSpace } from "../../storage/free_space.ts";
import { DROPPED_MODE, maildropFault } from "./directory.ts";
import { type DroppedHead, formatDroppedHead } from "./dropped_head.ts";

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
 * Leaves a message; it is durable when this resolves.
 * @throws {DropError} when there is no maildrop, or no room
 */
export async function dropMessage(
  head: DroppedHead,
  message: Uint8Array,
  options: DropOptions,
): Promise<void> {
  const { directory, minFreeSpace, syncDirectory } = options;
  try {
    const info = await Deno.lstat(directory);
    const fault = maildropFault(info);
    if (fault !== undefined) throw new DropError(`${directory} ${fault}`);
    const first = formatDroppedHead(head);
    if (await freeSpace(directory) < minFreeSpace + first.length + message.length) {
      throw new DropError(`there is too little free space in ${directory}`);
    }
    const path = join(directory, crypto.getRandomValues(new Uint8Array(16)).toHex());
    const file = await open(path, "wx", 0o600);
    try {
      await fill(file, { parts: [first, message], gid: info.gid });
      await file.close();
      await syncDirectory(directory, path);
    } catch (error) {
      await file.close().catch(() => {});
      await Deno.remove(path).catch(() => {});
      throw error;
    }
  } catch (error) {
    if (error instanceof DropError || !(error instanceof Error)) throw error;
    throw new DropError(error.message, { cause: error });
  }
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
  await file.chmod(DROPPED_MODE);
  await file.sync();
}
