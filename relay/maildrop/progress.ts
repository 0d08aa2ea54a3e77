/**
 * Which recipients of a dropped message are done, where the server has taken it for some and not yet for others.
 *
 * @module
 */
import { dirname } from "@std/path";

const SUFFIX = ".done";
const MAX_SIZE = 16 * 1024 * 1024;

/** A file of serve-out's own, beside the message. */
export class Progress {
  readonly #done: Set<string>;
  readonly #path: string;

  private constructor(path: string, done: Iterable<string> = []) {
    this.#path = path;
    this.#done = new Set(done);
  }

  /** As the program named them. */
  get done(): ReadonlySet<string> {
    return this.#done;
  }

  /** The name of the message that a file of this name is about; `undefined` for any other file. */
  static messageOf(name: string): string | undefined {
    return /^([0-9a-f]{32})\.done$/.exec(name)?.[1];
  }

  /** Reads that of a message; nothing is done where this account has written none. */
  static async read(message: string): Promise<Progress> {
    const path = `${message}${SUFFIX}`;
    try {
      const { isFile, uid, size, nlink } = await Deno.lstat(path);
      // Another file of this account can be linked into here.
      if (!isFile || uid !== Deno.uid() || nlink !== 1 || size > MAX_SIZE) return new Progress(path);
      const done: unknown = JSON.parse(await Deno.readTextFile(path));
      const isList = Array.isArray(done) && done.every((address) => typeof address === "string");
      return new Progress(path, isList ? done : []);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound || error instanceof SyntaxError) {
        return new Progress(path);
      }
      throw error;
    }
  }

  /** Adds to it; durable when this resolves. What cannot be written is remembered by this object only. */
  async add(done: readonly string[]): Promise<void> {
    for (const address of done) this.#done.add(address);
    const fresh = `${this.#path}.new`;
    // Another account might have made it.
    await Deno.remove(fresh).catch(() => {});
    {
      using file = await Deno.open(fresh, { write: true, createNew: true, mode: 0o600 });
      const bytes = new TextEncoder().encode(JSON.stringify([...this.#done]));
      for (let written = 0; written < bytes.length;) written += await file.write(bytes.subarray(written));
      await file.sync();
    }
    await Deno.rename(fresh, this.#path).catch(async (error) => {
      await Deno.remove(fresh).catch(() => {});
      throw error;
    });
    using directory = await Deno.open(dirname(this.#path));
    await directory.sync();
  }

  /** Removes it, as the message is gone. */
  async remove(): Promise<void> {
    if (this.#done.size > 0) await Deno.remove(this.#path).catch(() => {});
  }
}
