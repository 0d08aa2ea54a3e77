/**
 * A copy of a large message that grows in its mailbox's `tmp/` as the message comes, instead of waiting elsewhere.
 *
 * @module
 */
import type { MaildirMessage } from "./maildir_message.ts";

/** Octets of one write. */
const BUFFER = 256 * 1024;

/** Writes one message in large pieces: one is being written while the next one fills. */
export class GrowingCopy {
  /** The file, which is this object's alone until {@linkcode GrowingCopy.finish}. */
  readonly message: MaildirMessage;
  #filling = new Uint8Array(BUFFER);
  #used = 0;
  #other = new Uint8Array(BUFFER);
  /** The pending write of the other buffer. */
  #writing: Promise<void> = Promise.resolve();
  #size = 0;

  constructor(message: MaildirMessage) {
    this.message = message;
  }

  /** Octets taken so far. */
  get size(): number {
    return this.#size;
  }

  /**
   * Appends a copy of the chunk.
   * @throws {StorageError} this or an earlier piece could not be written; the file is gone then
   */
  async write(chunk: Uint8Array): Promise<void> {
    for (let done = 0; done < chunk.length;) {
      if (this.#used === BUFFER) await this.#flush();
      const part = chunk.subarray(done, done + BUFFER - this.#used);
      this.#filling.set(part, this.#used);
      this.#used += part.length;
      this.#size += part.length;
      done += part.length;
    }
  }

  /**
   * Writes what is left: the file then has all that was taken.
   * @throws {StorageError} the file is gone then
   */
  async flush(): Promise<void> {
    await this.#flush();
    await this.#writing;
  }

  /**
   * Writes what is left, and syncs and closes the file.
   * @throws {StorageError} the file is gone then
   */
  async finish(): Promise<void> {
    await this.flush();
    await this.message.finish();
  }

  /** Begins to write the buffer, after the pending write. */
  async #flush(): Promise<void> {
    await this.#writing;
    const writing = this.message.write(this.#filling.subarray(0, this.#used));
    // The next caller that awaits it sees the error; it is not awaited if the message is dropped first.
    writing.catch(() => {});
    this.#writing = writing;
    [this.#filling, this.#other] = [this.#other, this.#filling];
    this.#used = 0;
  }
}
