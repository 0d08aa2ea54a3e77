/**
 * Finds line ends fast, for mail data on its way in and out.
 *
 * @module
 */

const CR = 13;
const LF = 10;
const NO_WORDS = new Int32Array(0);

/** Finds CR and LF in one chunk, four bytes at a time. */
export class LineEndScanner {
  readonly #bytes: Uint8Array;
  /** The same memory from the first place on where a word may stand. */
  readonly #words: Int32Array;
  /** Where the words begin. */
  readonly #base: number;

  /** The chunk may change between calls. */
  constructor(chunk: Uint8Array) {
    const base = -chunk.byteOffset & 3;
    this.#bytes = chunk;
    this.#base = base;
    this.#words = chunk.length < base + 4
      ? NO_WORDS
      : new Int32Array(chunk.buffer, chunk.byteOffset + base, (chunk.length - base) >> 2);
  }

  /** The first CR or LF from `from` on; the chunk's length if there is none. */
  next(from: number): number {
    const bytes = this.#bytes;
    const words = this.#words;
    const base = this.#base;
    const size = bytes.length;
    let at = from;
    while (at < size) {
      if (((at - base) & 3) === 0) {
        let word = (at - base) >> 2;
        while (word < words.length && !mayEndLine(words[word] ?? 0)) word++;
        at = base + (word << 2);
        if (at >= size) break;
      }
      const byte = bytes[at];
      if (byte === CR || byte === LF) return at;
      at++;
    }
    return size;
  }
}

/** Whether one of the four bytes is less than 14; "Bit Twiddling Hacks", S. E. Anderson, "hasless". */
function mayEndLine(word: number): boolean {
  return ((word - 0x0e0e0e0e) & ~word & 0x80808080) !== 0;
}
