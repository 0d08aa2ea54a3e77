/**
 * Files of messages that have left, to be written again: a file that is there costs less than a new one, which must be
 * found a place on the disk, and less than removing it.
 *
 * @module
 */
import { join } from "@std/path";
import type { Clock } from "../smtp/clock.ts";
import { Watchdog } from "../smtp/watchdog.ts";
import type { FileSystem } from "../storage/file_system.ts";
import { NewFile } from "../storage/new_file.ts";

/** Octets of a message whose file is kept, at most. */
const MAX_SIZE = 64 * 1024;
/** Files that are kept, at most. */
const MAX_FILES = 64;
/** Milliseconds after which no mail that has left lies about any more. */
const LIFETIME = 60_000;

/** What {@linkcode SpareFiles} need. */
export interface SpareFilesOptions {
  /** Where they are kept; on the file system of the messages. */
  readonly directory: string;
  /** The file system. */
  readonly fileSystem: FileSystem;
  /** Tells when nobody has wanted them for a while. */
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
    this.#idle = new Watchdog(options.clock, () => void this.#removeAll());
  }

  /** Whether the file of a message of so many octets would be kept. */
  wants(octets: number): boolean {
    return !this.#closed && octets <= MAX_SIZE && this.#count < MAX_FILES;
  }

  /**
   * Moves a file away from where it was. It is only written again after {@linkcode SpareFiles.release}, which must
   * wait until it is durably gone from there.
   * @returns where it is now; `undefined` where that did not succeed, or it is gone
   */
  async retire(path: string, name: string): Promise<string | undefined> {
    const { directory, fileSystem } = this.#options;
    const spare = join(directory, name);
    try {
      await fileSystem.rename(path, spare);
    } catch {
      return undefined;
    }
    this.#count++;
    return spare;
  }

  /** Lets a retired file be written again. */
  release(spare: string): void {
    if (this.#closed) return void this.#remove(spare);
    this.#paths.push(spare);
    const { clock } = this.#options;
    this.#idle.deadline = clock.monotonic() + LIFETIME;
  }

  /** A file to write a message into, that holds nothing of what it held; `undefined` when there is none. */
  async take(): Promise<NewFile | undefined> {
    const path = this.#paths.pop();
    if (path === undefined) return undefined;
    this.#count--;
    // Whatever is wrong with it, a new file will do.
    return await NewFile.reuse(path, this.#options).catch(() => undefined);
  }

  /** Removes them all. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#idle.cancel();
    await this.#removeAll();
  }

  async #removeAll(): Promise<void> {
    while (this.#paths.length > 0) await this.#remove(this.#paths.pop() ?? "");
  }

  async #remove(path: string): Promise<void> {
    this.#count--;
    // The next start does, if this does not.
    await this.#options.fileSystem.remove(path).catch(() => {});
  }
}
