/**
 * Quoted-printable (RFC 2045 §6.7), which turns any bytes into short lines of ASCII.
 *
 * @module
 */
import { concat } from "../base/concat.ts";

const CR = 13;
const LF = 10;
const SPACE = 32;
const TAB = 9;
const EQUALS = 61;
const MAX_LINE = 76;
const HEX = new TextEncoder().encode("0123456789ABCDEF");

/**
 * Encodes text whose lines end in CRLF as it comes, cut anywhere; a CR or LF that stands alone is encoded as a byte.
 */
export class QuotedPrintableEncoder {
  #out = new Uint8Array(0);
  #length = 0;
  #column = 0;
  /** White space or a CR, whose encoding depends on what follows. */
  #held: number | undefined;

  /** Encodes a chunk, but for what depends on the next one. */
  push(chunk: Uint8Array): Uint8Array {
    // Each byte takes three at most, and each line, of 73 bytes of output or more, a line end of three.
    this.#out = new Uint8Array(4 * (chunk.length + 1) + 8);
    this.#length = 0;
    for (const byte of chunk) this.#take(byte);
    return this.#out.subarray(0, this.#length);
  }

  /** What was held back, at the end of the text. */
  finish(): Uint8Array {
    this.#out = new Uint8Array(8);
    this.#length = 0;
    // White space at the end of a line may get lost in transit.
    if (this.#held !== undefined) this.#escape(this.#held);
    this.#held = undefined;
    return this.#out.subarray(0, this.#length);
  }

  #take(byte: number): void {
    const held = this.#held;
    if (held === CR && byte === LF) {
      this.#held = undefined;
      this.#endLine();
      return;
    }
    if (held === CR || (held !== undefined && byte === CR)) this.#escape(held);
    else if (held !== undefined) this.#put(held);
    this.#held = undefined;
    if (byte === CR || byte === SPACE || byte === TAB) this.#held = byte;
    else if (byte > SPACE && byte < 127 && byte !== EQUALS) this.#put(byte);
    else this.#escape(byte);
  }

  #put(byte: number): void {
    this.#makeRoom(1);
    this.#out[this.#length++] = byte;
  }

  #escape(byte: number): void {
    this.#makeRoom(3);
    this.#out[this.#length++] = EQUALS;
    this.#out[this.#length++] = HEX[byte >> 4] as number;
    this.#out[this.#length++] = HEX[byte & 15] as number;
  }

  /** One column is kept for the "=" of a soft line break. */
  #makeRoom(columns: number): void {
    if (this.#column + columns >= MAX_LINE) {
      this.#out[this.#length++] = EQUALS;
      this.#endLine();
    }
    this.#column += columns;
  }

  #endLine(): void {
    this.#out[this.#length++] = CR;
    this.#out[this.#length++] = LF;
    this.#column = 0;
  }
}

/** Encodes a complete text. */
export function encodeQuotedPrintable(bytes: Uint8Array): Uint8Array {
  const encoder = new QuotedPrintableEncoder();
  return concat(encoder.push(bytes), encoder.finish());
}
