/**
 * Where a message waits until it is complete: in memory while it is small, in one file from then on.
 *
 * @module
 */
import { join } from "@std/path";
import { denoFileSystem, type FileSystem, type OpenFile } from "./file_system.ts";
import { attempt } from "./storage_error.ts";

const FIRST_BUFFER = 16 * 1024;
/** So many first buffers are used again, since each new one is a call into the allocator. */
const MAX_SPARE = 32;
const NOTHING = new Uint8Array(0);

/** How much is kept where. */
export interface StagingOptions {
  /** Where the files of larger messages go; made when it is first needed, mode 0700. */
  readonly directory: string;
  /** Octets of one message kept in memory, a power of two from 16 KiB on; 256 KiB if absent. */
  readonly messageLimit?: number;
  /** Octets kept in memory for all messages together beyond 16 KiB each; 64 MiB if absent. */
  readonly totalLimit?: number;
  /** For tests. */
  readonly fileSystem?: FileSystem;
}

/** Makes staged messages and bounds their memory together. */
export class StagingArea {
  /** Where the files of larger messages go. */
  readonly directory: string;
  readonly #messageLimit: number;
  readonly #totalLimit: number;
  readonly #fileSystem: FileSystem;
  readonly #spare: Uint8Array<ArrayBuffer>[] = [];
  #held = 0;
  #made = false;

  /** Nothing is touched on the disk yet. */
  constructor(options: StagingOptions) {
    this.directory = options.directory;
    this.#messageLimit = options.messageLimit ?? 256 * 1024;
    this.#totalLimit = options.totalLimit ?? 64 * 1024 * 1024;
    this.#fileSystem = options.fileSystem ?? denoFileSystem;
  }

  /** Octets of memory that messages hold at present beyond their first 16 KiB. */
  get held(): number {
    return this.#held;
  }

  /** An empty message. Dispose it when it has been copied to where it belongs. */
  stage(): StagedMessage {
    return new StagedMessage(this.#spare.pop() ?? new Uint8Array(FIRST_BUFFER), {
      grow: (length) => {
        if (length * 2 > this.#messageLimit || this.#held + length > this.#totalLimit) return false;
        this.#held += length;
        return true;
      },
      release: (octets, spare) => {
        this.#held -= octets;
        if (spare !== undefined && this.#spare.length < MAX_SPARE) this.#spare.push(spare);
      },
      openFile: () => this.#openFile(),
    });
  }

  async #openFile(): Promise<OpenFile> {
    const path = join(this.directory, crypto.randomUUID());
    if (!this.#made) {
      await attempt(
        "create directory",
        this.directory,
        () => Deno.mkdir(this.directory, { recursive: true, mode: 0o700 }),
      );
      this.#made = true;
    }
    const open = { read: true, write: true, createNew: true, mode: 0o600 };
    const file = await attempt("create", path, () => this.#fileSystem.open(path, open));
    try {
      // Without a name the file ends with its descriptor: a crash leaves nothing to clean.
      await attempt("remove", path, () => this.#fileSystem.remove(path));
    } catch (error) {
      file.close();
      throw error;
    }
    return file;
  }
}

interface Resources {
  /** Asks for as many octets again. */
  grow(length: number): boolean;
  /** Gives octets back, and the first buffer where nobody else can be reading or writing it. */
  release(octets: number, spare: Uint8Array<ArrayBuffer> | undefined): void;
  openFile(): Promise<OpenFile>;
}

/** One message on its way; made by {@linkcode StagingArea.stage}. It is not durable. */
export class StagedMessage implements Disposable {
  readonly #resources: Resources;
  #buffer: Uint8Array<ArrayBuffer>;
  #used = 0;
  #grown = 0;
  #file: OpenFile | undefined;
  #size = 0;

  /** @ignore Made by the area. */
  constructor(buffer: Uint8Array<ArrayBuffer>, resources: Resources) {
    this.#buffer = buffer;
    this.#resources = resources;
  }

  /** Octets written so far. */
  get size(): number {
    return this.#size;
  }

  /** The whole of it while it is in memory, valid until it is written to or disposed of; else `undefined`. */
  get bytes(): Uint8Array | undefined {
    return this.#file === undefined ? this.#buffer.subarray(0, this.#used) : undefined;
  }

  /**
   * Appends a copy of the chunk. Returns nothing where memory took it.
   * @throws {StorageError} when the file cannot be written; the message is useless then
   */
  write(chunk: Uint8Array): Promise<void> | void {
    while (this.#used + chunk.length > this.#buffer.length) {
      if (this.#file !== undefined || !this.#resources.grow(this.#buffer.length)) {
        return this.#writeToFile(chunk);
      }
      this.#grown += this.#buffer.length;
      const larger = new Uint8Array(this.#buffer.length * 2);
      larger.set(this.#buffer.subarray(0, this.#used));
      this.#buffer = larger;
    }
    this.#buffer.set(chunk, this.#used);
    this.#used += chunk.length;
    this.#size += chunk.length;
  }

  /**
   * The message from its beginning, in chunks that are valid until the next one is asked for. May be read again, by
   * one reader at a time, and not be written any more.
   * @throws {StorageError} when the file cannot be read
   */
  async *chunks(): AsyncIterable<Uint8Array> {
    const file = this.#file;
    if (file === undefined) {
      if (this.#used > 0) yield this.#buffer.subarray(0, this.#used);
      return;
    }
    const path = "a staged message";
    if (this.#used > 0) await this.#flush(file);
    await attempt("read", path, () => file.seek(0, Deno.SeekMode.Start));
    let done = 0;
    for (;;) {
      const length = await attempt("read", path, () => file.read(this.#buffer));
      if (length === null) break;
      done += length;
      yield this.#buffer.subarray(0, length);
    }
    await attempt("read", path, () => {
      if (done !== this.#size) throw new Error(`${done} of ${this.#size} octets are there`);
    });
  }

  /** Gives memory and file back. */
  [Symbol.dispose](): void {
    // A buffer that goes with a file may still be in a read or a write of it.
    const reusable = this.#file === undefined && this.#buffer.length === FIRST_BUFFER;
    this.#file?.close();
    this.#file = undefined;
    this.#resources.release(this.#grown, reusable ? this.#buffer : undefined);
    this.#grown = 0;
    this.#buffer = NOTHING;
    this.#used = 0;
  }

  async #writeToFile(chunk: Uint8Array): Promise<void> {
    const file = this.#file ??= await this.#resources.openFile();
    await this.#flush(file);
    if (chunk.length >= this.#buffer.length) {
      await writeAll(file, chunk);
    } else {
      this.#buffer.set(chunk);
      this.#used = chunk.length;
    }
    this.#size += chunk.length;
  }

  async #flush(file: OpenFile): Promise<void> {
    await writeAll(file, this.#buffer.subarray(0, this.#used));
    this.#used = 0;
  }
}

async function writeAll(file: OpenFile, data: Uint8Array): Promise<void> {
  await attempt("write", "a staged message", async () => {
    for (let done = 0; done < data.length;) done += await file.write(data.subarray(done));
  });
}
