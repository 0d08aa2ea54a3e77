/**
 * A pool of buffers, since each new one costs an allocation and a garbage collection.
 *
 * @module
 */

/** Spare buffers of one size. They are not cleared: whoever takes one must read only what they have written to it. */
export class SpareBuffers {
  /** Octets of each. */
  readonly size: number;
  readonly #most: number;
  readonly #spare: Uint8Array<ArrayBuffer>[] = [];

  /**
   * The pool starts empty.
   * @param size Octets of each.
   * @param most The most buffers to keep; others are left to the garbage collector.
   */
  constructor(size: number, most: number) {
    this.size = size;
    this.#most = most;
  }

  /** A spare one, or a new one. */
  take(): Uint8Array<ArrayBuffer> {
    return this.#spare.pop() ?? new Uint8Array(this.size);
  }

  /** Takes back a buffer of this pool, which must not be in use any more. */
  give(buffer: Uint8Array<ArrayBuffer>): void {
    if (this.#spare.length < this.#most) this.#spare.push(buffer);
  }
}
