/**
 * The file calls that spool and Maildirs use, as a dependency, so that tests can inject errors.
 *
 * @module
 */

import { histograms } from "../base/counters.ts";

/** How long fsync(2) takes: of messages, directories and the queue's journal. */
export const syncTime = histograms("mailapp_storage_sync_seconds", {
  help: "How long fsync took, by what was synced",
  labels: ["what"],
});

/** The part of an open file that storage needs; `Deno.FsFile` has it. */
export interface OpenFile {
  /** Reads at the current position; `null` at the end. */
  read(buffer: Uint8Array): Promise<number | null>;
  /** Writes some of the bytes, and returns how many. */
  write(data: Uint8Array): Promise<number>;
  /** Like `write`, on the calling thread. */
  writeSync(data: Uint8Array): number;
  /** Moves the current position. */
  seek(offset: number, whence: Deno.SeekMode): Promise<number>;
  /** ftruncate(2), on the calling thread. */
  truncateSync(length: number): void;
  /** fsync(2): resolves when data and metadata are on the disk. */
  sync(): Promise<void>;
  /** fstat(2). */
  stat(): Promise<Deno.FileInfo>;
  /** Closes it. */
  close(): void;
}

/**
 * File calls by path. Files are opened and renamed on the calling thread: that waits for the disk only while
 * the file system's journal commits, and a round trip to another thread costs a quarter of a delivery's processor time
 * (docs/performance.md).
 */
export interface FileSystem {
  /** open(2). */
  openSync(path: string, options: Deno.OpenOptions): OpenFile;
  /** rename(2); silently replaces an existing file. */
  renameSync(from: string, to: string): void;
  /** unlink(2). */
  remove(path: string): Promise<void>;
  /** lstat(2): of a symbolic link itself. */
  lstat(path: string): Promise<Deno.FileInfo>;
  /** The same on the calling thread: what deliveries check is in the kernel's dentry cache. */
  lstatSync(path: string): Deno.FileInfo;
  /** stat(2), on the calling thread. */
  statSync(path: string): Deno.FileInfo;
  /** mkdir(2). */
  mkdir(path: string, options: Deno.MkdirOptions): Promise<void>;
  /** chmod(2). */
  chmod(path: string, mode: number): Promise<void>;
  /** The entries of a directory, in no order. */
  readDir(path: string): AsyncIterable<Deno.DirEntry>;
}

/** The real one. */
export const denoFileSystem: FileSystem = {
  openSync: Deno.openSync,
  renameSync: Deno.renameSync,
  remove: (path) => Deno.remove(path),
  lstat: Deno.lstat,
  lstatSync: Deno.lstatSync,
  statSync: Deno.statSync,
  mkdir: Deno.mkdir,
  chmod: Deno.chmod,
  readDir: Deno.readDir,
};
