/**
 * Stages a message until it is complete: in memory while it is small, then in one file.
 *
 * @module
 */
import { join } from "node:path";
import { concat } from "../base/concat.ts";
import { denoFileSystem, type FileSystem, type OpenFile } from "./file_system.ts";
import { storageCall, storageCallSync } from "./storage_error.ts";
import { writeAll } from "../base/write_all.ts";

const BLOCK = 16 * 1024;
/** Blocks that are reused, since each new one costs an allocation: 1 MiB. */
const MAX_SPARE = 64;
const NOTHING = new Uint8Array(0);

/** The limits of staging. */
export interface StagingOptions {
  /** The directory for larger messages; made when it is first needed, mode 0700. */
  readonly directory: string;
  /** Octets of one message kept in memory, a multiple of 16 KiB, and not 0; 256 KiB if absent. */
  readonly messageLimit?: number;
  /** Octets kept in memory for all messages together beyond 16 KiB each; 64 MiB if absent. */
  readonly totalLimit?: number;
  /** For tests. */
  readonly fileSystem?: FileSystem;
}

/** Makes staged messages, and bounds their total memory. */
export class StagingArea {
  /** The directory for larger messages. */
  readonly directory: string;
  readonly #messageLimit: number;
  readonly #totalLimit: number;
  readonly #fileSystem: FileSystem;
  readonly #spare: Block[] = [];
  /** Made once: a message has none of its own. */
  readonly #resources: Resources;
  #held = 0;
  #made = false;

  /** Does not touch the disk before a message is too large for memory. */
  constructor(options: StagingOptions) {
    this.directory = options.directory;
    this.#messageLimit = options.messageLimit ?? 256 * 1024;
    this.#totalLimit = options.totalLimit ?? 64 * 1024 * 1024;
    this.#fileSystem = options.fileSystem ?? denoFileSystem;
    this.#resources = {
      messageLimit: this.#messageLimit,
      take: (count) => this.#take(count),
      reuse: (blocks) => void this.#spare.push(...blocks.slice(0, MAX_SPARE - this.#spare.length)),
      forget: (count) => void (this.#held -= Math.max(count - 1, 0) * BLOCK),
      openFile: () => this.#openFile(),
    };
  }

  /** Octets of memory that messages hold at present beyond their first 16 KiB. */
  get held(): number {
    return this.#held;
  }

  /** An empty message. Dispose it when it has been copied to where it belongs. */
  stage(): StagedMessage {
    return new StagedMessage(this.#resources);
  }

  #take(count: number): Block | undefined {
    const more = count === 0 ? 0 : BLOCK;
    if (count * BLOCK >= this.#messageLimit || this.#held + more > this.#totalLimit) return undefined;
    this.#held += more;
    return this.#spare.pop() ?? new Uint8Array(BLOCK);
  }

  async #openFile(): Promise<OpenFile> {
    const path = join(this.directory, crypto.randomUUID());
    if (!this.#made) {
      await storageCall(
        "create directory",
        this.directory,
        () => this.#fileSystem.mkdir(this.directory, { recursive: true, mode: 0o700 }),
      );
      this.#made = true;
    }
    const open = { read: true, write: true, createNew: true, mode: 0o600 };
    const file = storageCallSync("create", path, () => this.#fileSystem.openSync(path, open));
    try {
      // Without a name the file ends with its descriptor: a crash leaves nothing to clean.
      await storageCall("remove", path, () => this.#fileSystem.remove(path));
    } catch (error) {
      file.close();
      throw error;
    }
    return file;
  }
}

type Block = Uint8Array<ArrayBuffer>;

interface Resources {
  /** Octets of one message kept in memory. */
  readonly messageLimit: number;
  /** Another block for a message that has `blocks`; `undefined` where memory is used up. */
  take(count: number): Block | undefined;
  /** Takes blocks back, which must not be in use any more. */
  reuse(blocks: readonly Block[]): void;
  /** Stops counting the memory of a message that had `blocks`. */
  forget(count: number): void;
  openFile(): Promise<OpenFile>;
}

/** One message on its way; made by {@linkcode StagingArea.stage}. It is not durable. */
export class StagedMessage implements Disposable {
  readonly #resources: Resources;
  /** The full blocks in memory. */
  readonly #blocks: Block[] = [];
  /** The last block, */
  #last = NOTHING;
  /** and how many octets are in it. */
  #used = 0;
  /** How many blocks of memory it has: as blocks, or as the buffer of its file. */
  #count = 0;
  #file: StagedFile | undefined;
  #size = 0;

  /** @ignore Made by the area. */
  constructor(resources: Resources) {
    this.#resources = resources;
  }

  /** Octets written so far. */
  get size(): number {
    return this.#size;
  }

  /** Octets in a file, where the message is too large for memory. */
  get octetsInFile(): number {
    return this.#file === undefined ? 0 : this.#size;
  }

  /** Whether the message will be in a file after `octets` more, as far as its own size decides. */
  willBeInFile(octets: number): boolean {
    return this.#file !== undefined || this.#size + octets > this.#resources.messageLimit;
  }

  /** All of it while it is in memory, valid until it is written to or disposed of; else `undefined`. */
  get pieces(): readonly Uint8Array[] | undefined {
    if (this.#file !== undefined) return undefined;
    return this.#blocks.map((block) => block === this.#last ? block.subarray(0, this.#used) : block);
  }

  /**
   * Appends a copy of the chunk. Returns nothing where memory took it.
   * @throws {StorageError} when the file cannot be written; the message is useless then
   */
  write(chunk: Uint8Array): Promise<void> | void {
    if (this.#file !== undefined) return this.#writeToFile(this.#file, chunk);
    for (let done = 0; done < chunk.length;) {
      if (this.#used === this.#last.length) {
        const block = this.#resources.take(this.#count);
        if (block === undefined) return this.#goToFile(chunk.subarray(done));
        this.#blocks.push(this.#last = block);
        this.#count++;
        this.#used = 0;
      }
      const part = chunk.subarray(done, done + this.#last.length - this.#used);
      this.#last.set(part, this.#used);
      this.#used += part.length;
      this.#size += part.length;
      done += part.length;
    }
  }

  /**
   * The message from its beginning, in chunks that are valid until the next one is asked for. May be read again, by
   * one reader at a time, and not be written any more.
   * @throws {StorageError} when the file cannot be read
   */
  async *chunks(): AsyncIterable<Uint8Array> {
    const { pieces } = this;
    if (pieces !== undefined) yield* pieces;
    else yield* this.#file?.chunks(this.#size) ?? [];
  }

  /** Frees memory and file. */
  [Symbol.dispose](): void {
    this.#file?.close();
    this.#file = undefined;
    this.#giveBack();
    this.#resources.forget(this.#count);
    this.#count = this.#size = 0;
  }

  #giveBack(): void {
    this.#resources.reuse(this.#blocks.splice(0));
    this.#last = NOTHING;
    this.#used = 0;
  }

  async #goToFile(rest: Uint8Array): Promise<void> {
    // All blocks are full.
    const file = this.#file = new StagedFile(await this.#resources.openFile(), concat(...this.#blocks));
    this.#giveBack();
    await this.#writeToFile(file, rest);
  }

  async #writeToFile(file: StagedFile, chunk: Uint8Array): Promise<void> {
    await file.write(chunk);
    this.#size += chunk.length;
  }
}

/** The file of a message that is too large for memory. */
class StagedFile {
  readonly #file: OpenFile;
  readonly #buffer: Uint8Array;
  /** Octets in the buffer that are not written yet. */
  #used: number;

  /** Takes over the buffer, with the beginning of the message in it. */
  constructor(file: OpenFile, buffer: Uint8Array) {
    this.#file = file;
    this.#buffer = buffer;
    this.#used = buffer.length;
  }

  async write(chunk: Uint8Array): Promise<void> {
    if (this.#used + chunk.length > this.#buffer.length) await this.#flush();
    if (chunk.length >= this.#buffer.length) {
      await writeStaged(this.#file, chunk);
    } else {
      this.#buffer.set(chunk, this.#used);
      this.#used += chunk.length;
    }
  }

  /** All of it, which must be `size` octets. */
  async *chunks(size: number): AsyncIterable<Uint8Array> {
    const path = "a staged message";
    await this.#flush();
    await storageCall("read", path, () => this.#file.seek(0, Deno.SeekMode.Start));
    let done = 0;
    for (;;) {
      const length = await storageCall("read", path, () => this.#file.read(this.#buffer));
      if (length === null) break;
      done += length;
      yield this.#buffer.subarray(0, length);
    }
    storageCallSync("read", path, () => {
      if (done !== size) throw new Error(`${done} of ${size} octets are there`);
    });
  }

  close(): void {
    this.#file.close();
  }

  async #flush(): Promise<void> {
    if (this.#used === 0) return;
    await writeStaged(this.#file, this.#buffer.subarray(0, this.#used));
    this.#used = 0;
  }
}

/** Writes all of it. @throws {StorageError} */
async function writeStaged(file: OpenFile, data: Uint8Array): Promise<void> {
  await storageCall("write", "a staged message", () => writeAll(file, data));
}
