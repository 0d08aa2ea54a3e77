/**
 * A file that is created, written, synced, and only then given its name.
 *
 * @module
 */
import { denoFileSystem, type FileSystem, type OpenFile, syncTime } from "./file_system.ts";
import { storageCall, storageCallSync, StorageError } from "./storage_error.ts";

const syncs = syncTime.with("message");

/** Octets up to which a file is written on the calling thread. */
const WRITE_THROUGH = 256 * 1024;
/** Octets of one read. */
const READ_SIZE = 256 * 1024;

/**
 * A file being written. Any failure drops the file: after a failed fsync the kernel may call lost pages clean, so a
 * second fsync that succeeds proves nothing.
 *
 * The choice of threads was measured on ext4 with 2 cores (docs/performance.md): a sync waits for the disk and goes
 * through the thread pool; a small write only fills the page cache, and create and rename seldom wait, so all
 * three are cheaper on the calling thread.
 */
export class NewFile {
  /** Where it is. */
  readonly path: string;
  readonly #fileSystem: FileSystem;
  #file: OpenFile | undefined;
  /** Whether it may be longer than what has been written. */
  readonly #reused: boolean;
  readonly #failed: (() => void) | undefined;
  #exists = true;
  #size = 0;

  private constructor(
    path: string,
    options: {
      file: OpenFile | undefined;
      fileSystem: FileSystem;
      reused: boolean;
      failed?: (() => void) | undefined;
    },
  ) {
    this.path = path;
    this.#file = options.file;
    this.#fileSystem = options.fileSystem;
    this.#reused = options.reused;
    this.#failed = options.failed;
  }

  /**
   * Creates the file; it must not exist (O_EXCL), and a symbolic link there is not followed.
   * @param options `mode`: permission bits before the umask, 0660 if absent; `failed`: called when a later step fails;
   * `readable`: for {@linkcode NewFile.readBack}; `fileSystem`: for tests
   * @throws {StorageError}
   */
  static create(
    path: string,
    options: { mode?: number; failed?: () => void; readable?: boolean; fileSystem?: FileSystem } = {},
  ): NewFile {
    const { mode = 0o660, failed, readable = false, fileSystem = denoFileSystem } = options;
    const how = { write: true, createNew: true, mode, ...(readable && { read: true }) };
    const file = storageCallSync("create", path, () => fileSystem.openSync(path, how));
    return new NewFile(path, { file, fileSystem, reused: false, failed });
  }

  /**
   * As {@linkcode NewFile.create}, after removing an existing file: for a fixed name, under which a failed removal may
   * have left a file.
   * @throws {StorageError}
   */
  static async createAnew(
    path: string,
    options: Parameters<typeof NewFile.create>[1] = {},
  ): Promise<NewFile> {
    try {
      return NewFile.create(path, options);
    } catch (error) {
      if (!(error instanceof StorageError) || error.code !== "EEXIST") throw error;
    }
    const { fileSystem = denoFileSystem } = options;
    await storageCall("remove", path, () => fileSystem.remove(path));
    return NewFile.create(path, options);
  }

  /**
   * Opens an existing file, to be written from its beginning. Until {@linkcode NewFile.finish} it ends with what it
   * held before.
   * @throws {StorageError}
   */
  static reuse(path: string, { fileSystem }: { readonly fileSystem: FileSystem }): NewFile {
    const file = storageCallSync("open", path, () => fileSystem.openSync(path, { write: true }));
    return new NewFile(path, { file, fileSystem, reused: true });
  }

  /** A file that another thread has finished and handed over. */
  static adopt(path: string, { fileSystem }: { readonly fileSystem: FileSystem }): NewFile {
    return new NewFile(path, { file: undefined, fileSystem, reused: false });
  }

  /** Octets written so far. */
  get size(): number {
    return this.#size;
  }

  /**
   * Appends all of it.
   * @throws {StorageError} the file is gone then
   */
  async write(data: Uint8Array): Promise<void> {
    await this.#write(data, this.#size + data.length > WRITE_THROUGH);
    this.#size += data.length;
  }

  /**
   * Overwrites the beginning. Nothing can be appended afterwards.
   * @throws {StorageError} the file is gone then
   */
  async overwriteStart(data: Uint8Array): Promise<void> {
    if (data.length > this.#size) throw new RangeError(`${this.path} is shorter than ${data.length} octets`);
    try {
      await this.#opened().seek(0, Deno.SeekMode.Start);
    } catch (cause) {
      await this.#drop(new StorageError("seek", { path: this.path, cause }));
    }
    await this.#write(data, data.length > WRITE_THROUGH);
  }

  /**
   * Reads back what has been written, from an offset, in chunks that are valid until the next is requested; for a file
   * that was created `readable`. Nothing can be appended afterwards.
   * @throws {StorageError} when it cannot be read
   */
  async *readBack(from: number): AsyncIterable<Uint8Array> {
    const { path } = this;
    const file = this.#opened();
    const buffer = new Uint8Array(READ_SIZE);
    await storageCall("read", path, () => file.seek(from, Deno.SeekMode.Start));
    for (let at = from; at < this.#size;) {
      const length = await storageCall("read", path, () => file.read(buffer));
      if (length === null) throw new StorageError("read", { path, cause: new Error(`it ends at ${at}`) });
      yield buffer.subarray(0, length);
      at += length;
    }
  }

  async #write(data: Uint8Array, throughPool: boolean): Promise<void> {
    const file = this.#opened();
    try {
      for (let done = 0; done < data.length;) {
        const rest = done === 0 ? data : data.subarray(done);
        done += throughPool ? await file.write(rest) : file.writeSync(rest);
      }
    } catch (cause) {
      await this.#drop(new StorageError("write", { path: this.path, cause }));
    }
  }

  /**
   * Syncs and closes it. Its name is durable only when the directory has been synced too.
   * @throws {StorageError} the file is gone then
   */
  async finish(): Promise<void> {
    const file = this.#opened();
    try {
      if (this.#reused) file.truncateSync(this.#size);
      const since = performance.now();
      await file.sync();
      syncs.observe((performance.now() - since) / 1000);
      this.#close();
    } catch (cause) {
      await this.#drop(new StorageError("sync", { path: this.path, cause }));
    }
  }

  /**
   * Renames the finished file. It is out of reach of {@linkcode NewFile.discard} from then on.
   * @throws {StorageError} the file is gone then
   */
  async publish(path: string): Promise<void> {
    if (this.#file !== undefined || !this.#exists) throw new TypeError(`${this.path} is not finished`);
    try {
      this.#fileSystem.renameSync(this.path, path);
      this.#exists = false;
    } catch (cause) {
      await this.#drop(new StorageError("rename", { path, cause }));
    }
  }

  /** Leaves the finished file to another thread, which has to publish or discard it. */
  handOver(): void {
    if (this.#file !== undefined || !this.#exists) throw new TypeError(`${this.path} is not finished`);
    this.#exists = false;
  }

  /** Closes and removes the file, if it is still there; does not fail. */
  async discard(): Promise<void> {
    this.#close();
    if (!this.#exists) return;
    this.#exists = false;
    // Where even this fails, the file has a temporary name and is cleaned up later.
    await this.#fileSystem.remove(this.path).catch(() => {});
  }

  /** Discards the file because of an error, and throws that. */
  async #drop(error: StorageError): Promise<never> {
    this.#failed?.();
    await this.discard();
    throw error;
  }

  #opened(): OpenFile {
    if (this.#file === undefined) throw new TypeError(`${this.path} is closed`);
    return this.#file;
  }

  #close(): void {
    this.#file?.close();
    this.#file = undefined;
  }
}
