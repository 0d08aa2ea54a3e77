/**
 * Free space on file systems.
 *
 * @module
 */
import { statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { errorCode, storageCall } from "./storage_error.ts";

/** What an unprivileged process may still store on a file system. */
export interface FreeRoom {
  /** Octets. */
  readonly octets: number;
  /** Free inodes, and inodes in all; absent where there is no limit. */
  readonly files?: { readonly free: number; readonly total: number };
}

/** A file system: its size, and what is free of it. */
export interface FileSystemRoom extends FreeRoom {
  /** Octets, those in use and those that only root may fill included. */
  readonly size: number;
}

/**
 * The free space on the file system of this path; where the path does not exist yet, on that of its nearest existing
 * parent.
 * @throws {StorageError}
 */
export async function freeRoom(path: string): Promise<FileSystemRoom> {
  for (let at = path;; at = dirname(at)) {
    try {
      const { blocks, bavail, bsize, files, ffree } = await statfs(at);
      return {
        size: blocks * bsize,
        octets: bavail * bsize,
        // Some file systems have no limit of files, and tell 0.
        ...(files > 0 && { files: { free: ffree, total: files } }),
      };
    } catch (error) {
      if (errorCode(error) === "ENOENT" && dirname(at) !== at) continue;
      return await storageCall("see the free space of", path, () => Promise.reject(error));
    }
  }
}

/** Inodes to keep free: a twentieth of all, at most a thousand. */
const FILE_RESERVE = { share: 0.05, most: 1000 };

/** How many inodes to keep free. */
export function reservedFiles({ files }: FreeRoom): number {
  return files === undefined ? 0 : Math.min(FILE_RESERVE.most, files.total * FILE_RESERVE.share);
}

/** Whether inodes have nearly run out: then the file system is full, whatever its free octets. */
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
