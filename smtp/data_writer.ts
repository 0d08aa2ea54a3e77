/**
 * Mail data on its way out: dot-stuffing (RFC 5321 §4.5.2) and the end of the data (§4.1.1.4).
 *
 * @module
 */

const CR = 13;
const LF = 10;
const DOT = 46;
const BUFFER_SIZE = 32 * 1024;

/**
 * Writes one message after the other, dot-stuffed, in blocks of up to 32 KiB. What it is given ends its lines in CRLF;
 * should a bare LF or CR have crept in all the same (a spool edited by hand), it leaves as CRLF or as a space, since a
 * server could take it for the end of the data (§2.3.8).
 */
export class DataWriter {
  readonly #sink: (block: Uint8Array) => Promise<void>;
  readonly #buffer = new Uint8Array(BUFFER_SIZE);
  #length = 0;
  #lineStart = true;
  /** The last byte was a CR, which is not written yet. */
  #heldCr = false;

  /** @param sink Takes each block, which is valid until the promise resolves. */
  constructor(sink: (block: Uint8Array) => Promise<void>) {
    this.#sink = sink;
  }

  /** Begins a message. */
  begin(): void {
    this.#length = 0;
    this.#lineStart = true;
    this.#heldCr = false;
  }

  /** Takes a part of the message, cut anywhere. */
  async write(chunk: Uint8Array): Promise<void> {
    const size = chunk.length;
    if (size === 0) return;
    // Bytes from `start` on are not written yet; they go out unchanged, in one piece, unless something must be done.
    let start = 0;
    let at = 0;
    if (this.#heldCr) {
      this.#heldCr = false;
      const lineEnd = chunk[0] === LF;
      await this.#put(lineEnd ? CR : 32);
      if (lineEnd) {
        at = 1;
        this.#lineStart = true;
      }
    }
    let cr = -1;
    let lf = -1;
    while (at < size) {
      if (this.#lineStart && chunk[at] === DOT) {
        await this.#copy(chunk.subarray(start, at));
        start = at;
        await this.#put(DOT);
      }
      this.#lineStart = false;
      if (cr < at) cr = next(chunk, CR, at);
      if (lf < at) lf = next(chunk, LF, at);
      if (cr === size && lf === size) break;
      if (cr + 1 === lf && lf < size) {
        at = lf + 1;
        this.#lineStart = true;
        continue;
      }
      const odd = Math.min(cr, lf);
      await this.#copy(chunk.subarray(start, odd));
      start = at = odd + 1;
      if (odd === lf) {
        await this.#put(CR);
        await this.#put(LF);
        this.#lineStart = true;
      } else if (start === size) {
        this.#heldCr = true;
      } else {
        await this.#put(32);
      }
    }
    await this.#copy(chunk.subarray(start));
  }

  /** Ends the message: the CRLF of the last line where it lacks one, the dot, and what is still held back. */
  async finish(): Promise<void> {
    if (this.#heldCr) await this.#put(32);
    const end = this.#lineStart ? [DOT, CR, LF] : [CR, LF, DOT, CR, LF];
    for (const byte of end) await this.#put(byte);
    await this.#flush();
  }

  async #put(byte: number): Promise<void> {
    if (this.#length === BUFFER_SIZE) await this.#flush();
    this.#buffer[this.#length++] = byte;
  }

  async #copy(bytes: Uint8Array): Promise<void> {
    let rest = bytes;
    while (rest.length > 0) {
      if (this.#length === BUFFER_SIZE) await this.#flush();
      const size = Math.min(rest.length, BUFFER_SIZE - this.#length);
      this.#buffer.set(rest.subarray(0, size), this.#length);
      this.#length += size;
      rest = rest.subarray(size);
    }
  }

  async #flush(): Promise<void> {
    const length = this.#length;
    this.#length = 0;
    await this.#sink(this.#buffer.subarray(0, length));
  }
}

/** Where the byte comes next; the length if it does not. */
function next(chunk: Uint8Array, byte: number, from: number): number {
  const found = chunk.indexOf(byte, from);
  return found === -1 ? chunk.length : found;
}
