/**
 * How much room there is.
 *
 * @module
 */
import { statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { attempt, errorCode } from "./storage_error.ts";

/** What an unprivileged process may still store on a file system. */
export interface FreeRoom {
  /** Octets. */
  readonly octets: number;
  /** Files (inodes) that can be made, and how many there can be in all; absent where that has no limit. */
  readonly files?: { readonly free: number; readonly total: number };
}

/**
 * What is free on the file system of this path; where the path does not exist yet, on that of its nearest existing
 * parent.
 * @throws {StorageError}
 */
export async function freeRoom(path: string): Promise<FreeRoom> {
  for (let at = path;; at = dirname(at)) {
    try {
      const { bavail, bsize, files, ffree } = await statfs(at);
      return { octets: bavail * bsize, ...(files > 0 && { files: { free: ffree, total: files } }) };
    } catch (error) {
      if (errorCode(error) === "ENOENT" && dirname(at) !== at) continue;
      return await attempt("see the free space of", path, () => Promise.reject(error));
    }
  }
}

/** Files that must remain to be made: a twentieth of all, at most a thousand. */
const FILE_RESERVE = { share: 0.05, most: 1000 };

/** How many files must remain to be made. */
export function reservedFiles({ files }: FreeRoom): number {
  return files === undefined ? 0 : Math.min(FILE_RESERVE.most, files.total * FILE_RESERVE.share);
}

/** Whether hardly a file can be made any more: then the file system is full, whatever its octets say. */
export function lacksFiles(room: FreeRoom): boolean {
  return room.files !== undefined && room.files.free < reservedFiles(room);
}

/**
 * Octets that mail may still fill: those of {@linkcode freeRoom}, or 0 where {@linkcode lacksFiles}.
 * @throws {StorageError}
 */
export async function freeSpace(path: string): Promise<number> {
  const room = await freeRoom(path);
  return lacksFiles(room) ? 0 : room.octets;
}
