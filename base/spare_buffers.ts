/**
 * Buffers that are used again, since each new one is a call into the allocator, and work for the garbage collector.
 *
 * @module
 */

/** Spare buffers of one size. They are not cleared: who takes one reads nothing of it but what he has written. */
export class SpareBuffers {
  /** Octets of each. */
  readonly size: number;
  readonly #most: number;
  readonly #spare: Uint8Array<ArrayBuffer>[] = [];

  /**
   * None is there yet.
   * @param size Octets of each.
   * @param most So many are kept; more are left to the garbage collector.
   */
  constructor(size: number, most: number) {
    this.size = size;
    this.#most = most;
  }

  /** A spare one, or a new one. */
  take(): Uint8Array<ArrayBuffer> {
    return this.#spare.pop() ?? new Uint8Array(this.size);
  }

  /** Takes one back, which nobody may be reading or writing any more, and which came from here. */
  give(buffer: Uint8Array<ArrayBuffer>): void {
    if (this.#spare.length < this.#most) this.#spare.push(buffer);
  }
}
