/**
 * Looks at the header section of a message as it streams by: counts Received fields (RFC 5321 §6.3) and takes out
 * fields that a delivery does not want. Memory is bounded whatever the message holds.
 *
 * @module
 */

/** Decides whether a field is taken out; `name` in lower case, `value` unfolded as far as it was looked at. */
export type UnwantedField = (name: string, value: string) => boolean;

const LF = 10;
const CR = 13;
const SPACE = 32;
const TAB = 9;

// How much of a field is held back before it is decided upon; a longer field is decided upon by its beginning.
const MAX_HELD = 2048;

const decoder = new TextDecoder("latin1");

/** Filters one message. Bytes go in cut anywhere; pieces come out that are valid as long as the chunk is. */
export class HeaderFilter {
  /** Received fields so far. */
  receivedCount = 0;
  readonly #unwanted: UnwantedField | undefined;
  #inHeader = true;
  /** The beginning of a field that is not decided upon yet; its lines, CRLF and all. */
  #held = new Uint8Array(MAX_HELD);
  #heldLength = 0;
  /** Whether the rest of the field goes out or is dropped; `undefined` while it is held. */
  #keep: boolean | undefined;
  /** Whether the next byte begins a line. */
  #lineStart = true;

  /** Without `unwanted` it only counts. */
  constructor(unwanted?: UnwantedField) {
    this.#unwanted = unwanted;
  }

  /** Takes bytes and adds to `pieces` what goes on. */
  push(chunk: Uint8Array, pieces: Uint8Array[]): void {
    let at = 0;
    // What stands between `from` and `at` is decided to go out.
    let from = 0;
    while (at < chunk.length && this.#inHeader) {
      if (this.#lineStart) {
        const byte = chunk[at];
        const continues = (byte === SPACE || byte === TAB) &&
          (this.#heldLength > 0 || this.#keep !== undefined);
        if (!continues) {
          if (at > from) pieces.push(chunk.subarray(from, at));
          from = at;
          this.#release(pieces);
          this.#keep = undefined;
          if (byte === CR || byte === LF) this.#inHeader = false;
          if (!this.#inHeader) break;
        }
        this.#lineStart = false;
      }
      const lf = chunk.indexOf(LF, at);
      const end = lf < 0 ? chunk.length : lf + 1;
      this.#lineStart = lf >= 0;
      if (this.#keep === undefined) {
        const room = Math.min(end - at, MAX_HELD - this.#heldLength);
        this.#held.set(chunk.subarray(at, at + room), this.#heldLength);
        this.#heldLength += room;
        at += room;
        from = at;
        if (this.#heldLength === MAX_HELD) {
          this.#release(pieces);
          if (at < end) this.#lineStart = false;
        }
      } else {
        at = end;
        if (!this.#keep) from = at;
      }
    }
    const rest = chunk.subarray(from);
    if (rest.length > 0) pieces.push(rest);
  }

  /** Gives out what is still held when the message ends within its header section. */
  finish(pieces: Uint8Array[]): void {
    this.#release(pieces);
    this.#inHeader = false;
  }

  /** Decides upon the held field. */
  #release(pieces: Uint8Array[]): void {
    if (this.#heldLength === 0) return;
    const field = this.#held.subarray(0, this.#heldLength);
    this.#heldLength = 0;
    this.#keep = true;
    const text = decoder.decode(field);
    const name = /^([!-9;-~]{1,100})[ \t]*:/.exec(text)?.[1]?.toLowerCase();
    if (name === undefined) {
      // No field: here the body begins, without the empty line.
      this.#inHeader = false;
    } else if (name === "received") {
      this.receivedCount++;
    } else if (this.#unwanted !== undefined) {
      this.#keep = !this.#unwanted(name, text.slice(text.indexOf(":") + 1).replace(/\r?\n/g, ""));
    }
    // A copy: the buffer is used again for the next field before the pieces are written.
    if (this.#keep) pieces.push(field.slice());
  }
}
