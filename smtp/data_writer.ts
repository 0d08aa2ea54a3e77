/**
 * Mail data on its way out: dot-stuffing (RFC 5321 §4.5.2) and the end of the data (§4.1.1.4).
 *
 * @module
 */
import { LineEndScanner } from "../base/line_end_scanner.ts";
import { MAX_HELD_CRS } from "./data_reader.ts";

const CR = 13;
const LF = 10;
const DOT = 46;
const SPACE = 32;
/** Octets from which a block is written. */
const BLOCK = 32 * 1024;
/** Chunks are taken in parts of this many octets, each of which may double by dots and line ends. */
const PART = 4 * 1024;
/** Room for the longest end of a message, and for what was held back. */
const SLACK = 8 + MAX_HELD_CRS;
/** Below this many octets, a loop is cheaper than a call that copies. */
const FEW = 32;

/**
 * Writes one message after the other, dot-stuffed, in blocks of up to about 40 KiB. What it is given ends its lines in
 * CRLF; should it hold a bare LF or CR all the same (a spool edited by hand, the input of `sendmail`), it leaves as
 * CRLF or as a space, since a server could take it for the end of the data (§2.3.8). CRs right before a CRLF go.
 */
export class DataWriter {
  readonly #sink: (block: Uint8Array) => Promise<void>;
  readonly #buffer = new Uint8Array(BLOCK + 2 * PART + SLACK);
  #length = 0;
  #lineStart = true;
  /** CRs at the end so far, which are not written yet. */
  #heldCrs = 0;

  /** @param sink Takes each block, which is valid until the promise resolves. */
  constructor(sink: (block: Uint8Array) => Promise<void>) {
    this.#sink = sink;
  }

  /** Begins a message. */
  begin(): void {
    this.#length = 0;
    this.#lineStart = true;
    this.#heldCrs = 0;
  }

  /** Takes a part of the message, cut anywhere. */
  async write(chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.length; at += PART) {
      if (this.#length >= BLOCK) await this.#flush();
      this.#take(chunk.subarray(at, at + PART));
    }
  }

  /** Ends the message: the CRLF of the last line where it lacks one, the dot, and what is still held back. */
  async finish(): Promise<void> {
    this.#writeHeld();
    for (const byte of this.#lineStart ? [DOT, CR, LF] : [CR, LF, DOT, CR, LF]) this.#put(byte);
    await this.#flush();
  }

  /** Puts a part into the buffer, which has room for it whatever it holds. */
  #take(part: Uint8Array): void {
    const size = part.length;
    // Bytes from `start` on are not written yet; they go out unchanged, in one piece, unless something must be done.
    let start = 0;
    let at = 0;
    const scanner = new LineEndScanner(part);
    while (at < size) {
      if (this.#heldCrs > 0) {
        // What follows says what they were.
        if (part[at] === CR) {
          if (this.#heldCrs === MAX_HELD_CRS) this.#put(SPACE);
          else this.#heldCrs++;
          start = ++at;
          continue;
        }
        if (part[at] === LF) {
          this.#heldCrs = 0;
          this.#put(CR);
          this.#put(LF);
          this.#lineStart = true;
          start = ++at;
          continue;
        }
        this.#writeHeld();
      }
      if (this.#lineStart && part[at] === DOT) {
        this.#copy(part, start, at);
        start = at;
        this.#put(DOT);
      }
      this.#lineStart = false;
      const end = scanner.next(at);
      if (end === size) break;
      if (part[end] === CR && part[end + 1] === LF) {
        at = end + 2;
        this.#lineStart = true;
        continue;
      }
      this.#copy(part, start, end);
      start = at = end + 1;
      if (part[end] === LF) {
        this.#put(CR);
        this.#put(LF);
        this.#lineStart = true;
      } else {
        this.#heldCrs = 1;
      }
    }
    this.#copy(part, start, size);
  }

  /** The CRs that no line end has followed. */
  #writeHeld(): void {
    for (; this.#heldCrs > 0; this.#heldCrs--) this.#put(SPACE);
  }

  #put(byte: number): void {
    this.#buffer[this.#length++] = byte;
  }

  #copy(part: Uint8Array, from: number, to: number): void {
    const buffer = this.#buffer;
    let at = this.#length;
    this.#length += to - from;
    if (to - from > FEW) buffer.set(part.subarray(from, to), at);
    else for (let i = from; i < to; i++) buffer[at++] = part[i] as number;
  }

  async #flush(): Promise<void> {
    const length = this.#length;
    this.#length = 0;
    await this.#sink(this.#buffer.subarray(0, length));
  }
}
