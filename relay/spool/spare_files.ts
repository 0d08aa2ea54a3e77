/**
 * Files of messages that have left, to be written again: a file that is there costs less than a new one, which must be
 * found a place on the disk, and less than removing it.
 *
 * @module
 */
import { join } from "node:path";
import type { Clock } from "../../base/clock.ts";
import { Watchdog } from "../../base/watchdog.ts";
import type { FileSystem } from "../../storage/file_system.ts";
import { NewFile } from "../../storage/new_file.ts";
import { lstat } from "./directory.ts";

/** Octets of a file that is kept, at most: no larger message is in memory as a whole, to be written at once. */
const MAX_SIZE = 256 * 1024;
/** Files that are kept, at most. */
const MAX_FILES = 256;
/** Milliseconds for which they wait for mail. While mail flows each is rewritten in its turn, the oldest first. */
const LIFETIME = 60_000;

/** What {@linkcode SpareFiles} need. */
export interface SpareFilesOptions {
  /** Where they are kept; on the file system of the messages. */
  readonly directory: string;
  /** The file system. */
  readonly fileSystem: FileSystem;
  /** Fires when none has been taken for a while. */
  readonly clock: Clock;
}

/** The spare files of one spool. What a crash leaves of them is worth nothing. */
export class SpareFiles {
  readonly #options: SpareFilesOptions;
  readonly #paths: string[] = [];
  readonly #idle: Watchdog;
  /** Files that have left their place, the ready ones among them. */
  #count = 0;
  #closed = false;

  /** The directory must be there, and empty. */
  constructor(options: SpareFilesOptions) {
    this.#options = options;
    this.#idle = new Watchdog(options.clock, () => void this.give());
  }

  /**
   * Takes a file away from where it was, if there is use for it. It is only written again after
   * {@linkcode SpareFiles.release}, which must wait until it is durably gone from there.
   * @returns where it is now; `undefined` where it was left alone, or is gone for good
   */
  async retire(path: string, name: string): Promise<string | undefined> {
    const { directory, fileSystem } = this.#options;
    if (this.#closed || this.#count >= MAX_FILES) return undefined;
    const spare = join(directory, name);
    try {
      fileSystem.renameSync(path, spare);
    } catch {
      return undefined;
    }
    this.#count++;
    // Only now can no one link it under another name by the old one.
    if (isReusable(spare)) return spare;
    await this.drop(spare);
    return undefined;
  }

  /** Lets a retired file be written again. */
  release(spare: string): void {
    if (this.#closed) return void this.drop(spare);
    this.#paths.push(spare);
    const { clock } = this.#options;
    this.#idle.deadline = clock.monotonic() + LIFETIME;
  }

  /** A file to write a message into, that holds nothing of what it held; `undefined` when there is none. */
  async take(): Promise<NewFile | undefined> {
    const path = this.#paths.shift();
    if (path === undefined) return undefined;
    try {
      const file = NewFile.reuse(path, this.#options);
      this.#count--;
      return file;
    } catch {
      // Whatever is wrong with it, a new file will do.
      await this.drop(path);
      return undefined;
    }
  }

  /** Removes a retired file. */
  async drop(spare: string): Promise<void> {
    this.#count--;
    // The next start does, if this does not.
    await this.#options.fileSystem.remove(spare).catch(() => {});
  }

  /** Removes those that may be written again; whether there were any. */
  async give(): Promise<boolean> {
    const paths = this.#paths.splice(0);
    for (const path of paths) await this.drop(path);
    return paths.length > 0;
  }

  /** Removes them all. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#idle.cancel();
    await this.give();
  }
}

/** Small, and under no other name, which would be someone's copy: of a backup by hard links. */
function isReusable(path: string): boolean {
  const { nlink, size = Infinity } = lstat(path) ?? {};
  return nlink === 1 && size <= MAX_SIZE;
}
