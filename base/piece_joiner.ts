/**
 * Joins parts of a chunk into few pieces: each piece costs its receiver about as much as copying a kilobyte, so bytes
 * that come in small parts, such as mail data full of dots, must not be passed on that way.
 *
 * @module
 */

/** Parts of at least this many octets are separate pieces; shorter ones are copied together. */
const LONG = 512;
/** The first pieces are never copied, however short: most chunks have no more. */
const FREE_PIECES = 16;
const BLOCK = 16 * 1024;
/** Below this many octets, a loop is cheaper than a call that copies. */
const FEW = 32;

/** Collects parts of one chunk after the other: at most 16 pieces, and two for each 512 octets. */
export class PieceJoiner {
  #pieces: Uint8Array[] = [];
  #block: Uint8Array<ArrayBuffer> | undefined;
  /** The part of the block that is not a piece yet. */
  #start = 0;
  #end = 0;

  /** Begins a chunk, whose pieces are added to these. The pieces of the chunk before are void from now on. */
  begin(pieces: Uint8Array[]): void {
    this.#pieces = pieces;
    this.#start = this.#end = 0;
  }

  /** Adds a part of the chunk, or a constant. */
  add(bytes: Uint8Array, from = 0, to: number = bytes.length): void {
    const length = to - from;
    if (length === 0) return;
    if (length < LONG && this.#pieces.length >= FREE_PIECES) return this.#copy(bytes, from, to);
    this.end();
    this.#pieces.push(bytes.subarray(from, to));
  }

  /** Ends the chunk. */
  end(): void {
    if (this.#start === this.#end || this.#block === undefined) return;
    this.#pieces.push(this.#block.subarray(this.#start, this.#end));
    this.#start = this.#end;
  }

  #copy(bytes: Uint8Array, from: number, to: number): void {
    const length = to - from;
    if (this.#block === undefined || this.#end + length > BLOCK) {
      this.end();
      // A block that was full is still being read.
      this.#block = new Uint8Array(BLOCK);
      this.#start = this.#end = 0;
    }
    const block = this.#block;
    let at = this.#end;
    this.#end += length;
    if (length > FEW) block.set(bytes.subarray(from, to), at);
    else for (let i = from; i < to; i++) block[at++] = bytes[i] as number;
  }
}
