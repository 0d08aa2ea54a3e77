/**
 * What the spool asks of a file system when it changes something, as a seam: tests put a crash or a fault behind any
 * of these steps.
 *
 * @module
 */

/** A file being written. */
export interface SpoolFile {
  /** Writes all of it at the end of what was written before. */
  write(data: Uint8Array): Promise<void> | void;
  /** Writes over the file's first bytes. */
  writeStart(data: Uint8Array): Promise<void>;
  /** Resolves when the content is on the disk. */
  sync(): Promise<void>;
  /** Closes it; safe to call twice. */
  close(): void;
}

/** The steps that change a spool. */
export interface SpoolFiles {
  /** Creates a file, which must not exist, readable by its owner alone. */
  create(path: string): Promise<SpoolFile>;
  /** Renames, replacing what is there. */
  rename(from: string, to: string): Promise<void> | void;
  /** Removes a file; not an error when it is gone. */
  remove(path: string): Promise<void> | void;
  /** Creates a directory for its owner alone; not an error when it is there. */
  makeDirectory(path: string): Promise<void>;
  /** Resolves when names created, renamed or removed in the directory before the call are on the disk. */
  syncDirectory(path: string): Promise<void>;
}

// A write this small goes to the page cache faster than to another thread and back.
const SMALL_WRITE = 128 * 1024;

class DiskFile implements SpoolFile {
  readonly #file: Deno.FsFile;
  #open = true;

  constructor(file: Deno.FsFile) {
    this.#file = file;
  }

  async write(data: Uint8Array): Promise<void> {
    for (let at = 0; at < data.length;) {
      const rest = data.subarray(at);
      at += rest.length <= SMALL_WRITE ? this.#file.writeSync(rest) : await this.#file.write(rest);
    }
  }

  async writeStart(data: Uint8Array): Promise<void> {
    await this.#file.seek(0, Deno.SeekMode.Start);
    await this.write(data);
  }

  sync(): Promise<void> {
    return this.#file.syncData();
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#file.close();
  }
}

/** The real file system. */
export const diskFiles: SpoolFiles = {
  // deno-lint-ignore require-await
  async create(path) {
    return new DiskFile(Deno.openSync(path, { createNew: true, write: true, mode: 0o600 }));
  },
  rename: Deno.renameSync,
  remove(path) {
    try {
      Deno.removeSync(path);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  },
  makeDirectory: (path) => Deno.mkdir(path, { recursive: true, mode: 0o700 }),
  async syncDirectory(path) {
    using directory = await Deno.open(path);
    await directory.sync();
  },
};
