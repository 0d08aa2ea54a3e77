/**
 * From the lines of the wire to the lines of the disk.
 *
 * @module
 */

const CR = 13;
const LF = 10;

/** Turns CRLF into LF as the bytes come, cut anywhere. A CR or LF that stands alone is kept. */
export class LineEndingConverter {
  #scratch = new Uint8Array(0);
  #heldCr = false;
  #lines = 0;

  /** How many CRLF have been turned into LF. */
  get lines(): number {
    return this.#lines;
  }

  /** Converts a chunk. The result is valid until the next call. */
  push(chunk: Uint8Array): Uint8Array {
    if (this.#scratch.length < chunk.length + 1) this.#scratch = new Uint8Array(chunk.length + 1);
    const out = this.#scratch;
    let length = 0;
    if (this.#heldCr) out[length++] = CR;
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i] ?? 0;
      if (byte === LF && length > 0 && out[length - 1] === CR) {
        out[length - 1] = LF;
        this.#lines++;
      } else {
        out[length++] = byte;
      }
    }
    // What follows this CR is not known yet.
    this.#heldCr = length > 0 && out[length - 1] === CR;
    if (this.#heldCr) length--;
    return out.subarray(0, length);
  }

  /** What is left when the message is over: a last CR, or nothing. */
  finish(): Uint8Array {
    const rest = this.#heldCr ? Uint8Array.of(CR) : new Uint8Array(0);
    this.#heldCr = false;
    return rest;
  }
}
