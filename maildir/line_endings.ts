/**
 * Converts line endings from the wire to the disk.
 *
 * @module
 */
import { LineEndScanner } from "../base/line_end_scanner.ts";
import { SpareBuffers } from "../base/spare_buffers.ts";

const CR = 13;
const LF = 10;

// As much as a connection reads at once, plus a CR that was held.
const spare = new SpareBuffers(64 * 1024 + 1, 32);
const NOTHING = new Uint8Array(0);

/** Turns CRLF into LF as the bytes come, cut anywhere. A CR or LF that stands alone is kept. */
export class LineEndingConverter implements Disposable {
  #scratch = NOTHING;
  #heldCr = false;
  #lines = 0;

  /** How many CRLF have been turned into LF. */
  get lines(): number {
    return this.#lines;
  }

  /** Converts a chunk. The result is valid until the next call, or until this is disposed of. */
  push(chunk: Uint8Array): Uint8Array {
    const size = chunk.length;
    const out = this.#room(size + 1);
    const scanner = new LineEndScanner(chunk);
    let length = 0;
    if (this.#heldCr && size > 0) {
      this.#heldCr = false;
      if (chunk[0] === LF) this.#lines++;
      else out[length++] = CR;
    }
    // Copies the whole first, then moves each line to its place, which is cheaper than copying each.
    const shift = length;
    out.set(chunk, shift);
    // The bytes from `from` up to the current line end are output unchanged.
    let from = 0;
    for (let at = scanner.next(0); at < size; at = scanner.next(at)) {
      const end = at++;
      if (chunk[end] !== CR) continue;
      // The byte after the last one is not known yet.
      this.#heldCr = at === size;
      if (!this.#heldCr && chunk[at] !== LF) continue;
      if (length < shift + from) out.copyWithin(length, shift + from, shift + end);
      length += end - from;
      from = at;
      if (this.#heldCr) break;
      this.#lines++;
      at++;
    }
    if (length < shift + from) out.copyWithin(length, shift + from, shift + size);
    return out.subarray(0, length + size - from);
  }

  /** What is left at the end of the message: a last CR, or nothing. */
  finish(): Uint8Array {
    const rest = this.#heldCr ? Uint8Array.of(CR) : NOTHING;
    this.#heldCr = false;
    return rest;
  }

  /** Returns its buffer. */
  [Symbol.dispose](): void {
    if (this.#scratch.length === spare.size) spare.give(this.#scratch);
    this.#scratch = NOTHING;
  }

  #room(size: number): Uint8Array {
    if (this.#scratch.length < size) {
      this[Symbol.dispose]();
      this.#scratch = size > spare.size ? new Uint8Array(size) : spare.take();
    }
    return this.#scratch;
  }
}
