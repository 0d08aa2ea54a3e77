/**
 * A file system whose calls can be watched and made to fail.
 *
 * @module
 */
import { denoFileSystem, type FileSystem, type OpenFile } from "../../storage/file_system.ts";

/** The calls that can fail. */
export type FileCall =
  | "open"
  | "write"
  | "sync"
  | "rename"
  | "remove"
  | "read"
  | "truncate"
  | "close"
  | "mkdir"
  | "lstat";

/** Real files; each call may be made to fail before it does anything. Those that change something durable are noted. */
export class FaultyFileSystem implements FileSystem {
  /** What was called so far: `open PATH`, `sync PATH`, …, in order; a rename with its target. */
  readonly calls: string[] = [];
  /** The system's error code that this call fails with; `undefined` lets it pass. */
  fault: (call: FileCall, path: string) => string | undefined = () => undefined;
  /** A write takes no more octets than these, as write(2) may do. */
  longestWrite = Infinity;
  /** Called before each call that can fail, and waited for where that is not synchronous. */
  before: (call: FileCall, path: string) => Promise<void> | void = () => {};

  openSync(path: string, options: Deno.OpenOptions): OpenFile {
    void this.before("open", path);
    this.#check("open", path);
    return this.#watch(denoFileSystem.openSync(path, options), path);
  }

  renameSync(from: string, to: string): void {
    void this.before("rename", to);
    this.#check("rename", to);
    denoFileSystem.renameSync(from, to);
  }

  lstat(path: string): Promise<Deno.FileInfo> {
    return denoFileSystem.lstat(path);
  }

  lstatSync(path: string): Deno.FileInfo {
    this.#fail("lstat", path);
    return denoFileSystem.lstatSync(path);
  }

  statSync(path: string): Deno.FileInfo {
    return denoFileSystem.statSync(path);
  }

  async mkdir(path: string, options: Deno.MkdirOptions): Promise<void> {
    this.#fail("mkdir", path);
    await denoFileSystem.mkdir(path, options);
  }

  chmod(path: string, mode: number): Promise<void> {
    return denoFileSystem.chmod(path, mode);
  }

  readDir(path: string): AsyncIterable<Deno.DirEntry> {
    return denoFileSystem.readDir(path);
  }

  async remove(path: string): Promise<void> {
    await this.#pass("remove", path);
    await denoFileSystem.remove(path);
  }

  #watch(file: OpenFile, path: string): OpenFile {
    return {
      read: (buffer) => this.#pass("read", path).then(() => file.read(buffer)),
      write: (data) => this.#pass("write", path).then(() => file.write(data.subarray(0, this.longestWrite))),
      writeSync: (data) => {
        this.#check("write", path);
        return file.writeSync(data.subarray(0, this.longestWrite));
      },
      seek: (offset, whence) => file.seek(offset, whence),
      truncateSync: (length) => {
        this.#check("truncate", path);
        file.truncateSync(length);
      },
      sync: () => this.#pass("sync", path).then(() => file.sync()),
      stat: () => file.stat(),
      close: () => {
        this.calls.push(`close ${path}`);
        file.close();
      },
    };
  }

  async #pass(call: FileCall, path: string): Promise<void> {
    await this.before(call, path);
    this.#check(call, path);
  }

  #check(call: FileCall, path: string): void {
    this.calls.push(`${call} ${path}`);
    this.#fail(call, path);
  }

  #fail(call: FileCall, path: string): void {
    const code = this.fault(call, path);
    if (code !== undefined) throw Object.assign(new Error(`${code}: injected`), { code });
  }
}
