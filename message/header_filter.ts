/**
 * Looks at the header section of a message as it streams by: counts Received fields (RFC 5321 §6.3) and takes out
 * fields that a delivery does not want. Memory is bounded whatever the message holds.
 *
 * @module
 */
import { latin1 } from "../base/latin1.ts";

/**
 * Decides whether a field is taken out; `name` in lower case, `value`, to be called before it returns, gives the
 * field's value, unfolded, as far as it was looked at.
 */
export type UnwantedField = (name: string, value: () => string) => boolean;

const LF = 10;
const CR = 13;
const SPACE = 32;
const TAB = 9;
const COLON = 58;

// How much of a field is looked at before it is decided upon; a longer field is decided upon by its beginning.
const MAX_LOOK = 2048;
const MAX_NAME = 100;
const NOTHING = new Uint8Array(0);

/** Filters one message. Bytes go in cut anywhere; pieces come out that are valid as long as the chunk is. */
export class HeaderFilter {
  /** Received fields so far. */
  receivedCount = 0;
  readonly #unwanted: UnwantedField | undefined;
  #inHeader = true;
  /** What becomes of the field that the last chunk ended in; `undecided` fields are held. */
  #field: "none" | "undecided" | "kept" | "dropped" = "none";
  /** The beginning of an undecided field, as far as it stood in earlier chunks. */
  #held: Uint8Array | undefined;
  #heldLength = 0;
  /** Whether the next byte begins a line. */
  #lineStart = true;

  /** Without `unwanted` it only counts. */
  constructor(unwanted?: UnwantedField) {
    this.#unwanted = unwanted;
  }

  /** Takes bytes and adds to `pieces` what goes on: parts of the chunk, as large as they can be. */
  push(chunk: Uint8Array, pieces: Uint8Array[]): void {
    const length = chunk.length;
    // What stands between `from` and the field at `fieldStart` goes out.
    let from = 0;
    let fieldStart = 0;
    let at = 0;
    while (at < length && this.#inHeader) {
      if (this.#lineStart) {
        const byte = chunk[at];
        if (this.#field === "none" || (byte !== SPACE && byte !== TAB)) {
          from = this.#endField(chunk, { from, fieldStart, end: at }, pieces);
          fieldStart = at;
          if (byte === CR || byte === LF) {
            this.#inHeader = false;
            this.#field = "none";
            break;
          }
          this.#field = "undecided";
        }
      }
      const lf = chunk.indexOf(LF, at);
      this.#lineStart = lf >= 0;
      at = lf < 0 ? length : lf + 1;
      if (this.#field === "undecided" && this.#heldLength + at - fieldStart >= MAX_LOOK) {
        from = this.#endField(chunk, { from, fieldStart, end: at }, pieces);
        fieldStart = at;
      } else if (this.#field === "dropped") {
        from = at;
      }
    }
    if (this.#field === "undecided") {
      if (fieldStart > from) pieces.push(chunk.subarray(from, fieldStart));
      this.#hold(chunk.subarray(fieldStart));
    } else if (length > from) {
      pieces.push(chunk.subarray(from));
    }
  }

  /** Gives out what is still held when the message ends within its header section. */
  finish(pieces: Uint8Array[]): void {
    this.#endField(NOTHING, { from: 0, fieldStart: 0, end: 0 }, pieces);
    this.#inHeader = false;
  }

  /** Decides upon a field, as far as it is known, if that has not been done; returns from where bytes go out now. */
  #endField(
    chunk: Uint8Array,
    { from, fieldStart, end }: { from: number; fieldStart: number; end: number },
    pieces: Uint8Array[],
  ): number {
    if (this.#field !== "undecided") return from;
    const before = this.#heldLength;
    const part = chunk.subarray(fieldStart, Math.min(end, fieldStart + MAX_LOOK - before));
    let field = part;
    if (before > 0) field = this.#hold(part);
    this.#heldLength = 0;
    if (this.#isWanted(field)) {
      this.#field = "kept";
      // A copy: the buffer is used again for the next field before the pieces are written.
      if (before > 0) pieces.push(field.slice(0, before));
      return from;
    }
    this.#field = "dropped";
    if (fieldStart > from) pieces.push(chunk.subarray(from, fieldStart));
    return end;
  }

  #hold(bytes: Uint8Array): Uint8Array {
    this.#held ??= new Uint8Array(MAX_LOOK);
    this.#held.set(bytes, this.#heldLength);
    this.#heldLength += bytes.length;
    return this.#held.subarray(0, this.#heldLength);
  }

  #isWanted(field: Uint8Array): boolean {
    const colon = field.indexOf(COLON);
    // A line that is no field ends the header section for some readers and not for others: only the empty line does
    // here, lest a forged field stand behind such a line.
    if (colon < 1 || colon > MAX_NAME) return true;
    const name = latin1(field.subarray(0, colon)).toLowerCase().replace(/[ \t]+$/, "");
    if (name === "received") this.receivedCount++;
    if (this.#unwanted === undefined || !/^[!-9;-~]+$/.test(name)) return true;
    if (name === "received") return true;
    return !this.#unwanted(name, () => latin1(field.subarray(colon + 1)).replace(/\r?\n/g, ""));
  }
}
