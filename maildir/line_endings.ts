/**
 * From the lines of the wire to the lines of the disk.
 *
 * @module
 */
import { LineEndScanner } from "../smtp/line_end_scanner.ts";

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
    const size = chunk.length;
    if (this.#scratch.length < size + 1) this.#scratch = new Uint8Array(size + 1);
    const out = this.#scratch;
    const scanner = new LineEndScanner(chunk);
    let length = 0;
    // What stands between `from` and the line end that is looked at goes out as it is.
    let from = 0;
    if (this.#heldCr && size > 0) {
      this.#heldCr = false;
      if (chunk[0] === LF) this.#lines++;
      else out[length++] = CR;
    }
    for (let at = scanner.next(0); at < size; at = scanner.next(at + 1)) {
      if (chunk[at] !== CR) continue;
      // What follows the last one is not known yet.
      this.#heldCr = at + 1 === size;
      if (!this.#heldCr && chunk[at + 1] !== LF) continue;
      out.set(chunk.subarray(from, at), length);
      length += at - from;
      from = at + 1;
      if (!this.#heldCr) this.#lines++;
    }
    out.set(chunk.subarray(from), length);
    return out.subarray(0, length + size - from);
  }

  /** What is left when the message is over: a last CR, or nothing. */
  finish(): Uint8Array {
    const rest = this.#heldCr ? Uint8Array.of(CR) : new Uint8Array(0);
    this.#heldCr = false;
    return rest;
  }
}
