/**
 * Collects the header section of a message that streams by.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { isField } from "./header_field.ts";
import { HeaderSection, readField } from "./header_section.ts";
import { markLength } from "./split_message.ts";

const LF = 10;
const CR = 13;
const SPACE = 32;
const TAB = 9;

/** Reads one message. Each octet is looked at once. */
export class HeaderCollector {
  /** What has been collected; whole once {@linkcode HeaderCollector.push} says where the body begins. */
  readonly section = new HeaderSection();
  /** Octets so far, the empty line not counted. */
  octets = 0;
  /** The beginning of a field, as far as it stood in earlier chunks. */
  #held: Buffer = Buffer.alloc(0);
  #heldLength = 0;
  #lineStart = true;
  /** Whether the empty line has begun. */
  #ended = false;

  /** Takes mail data cut anywhere. Returns where in the chunk the body begins, or nothing while it is not there yet. */
  push(chunk: Uint8Array): number | undefined {
    if (this.#ended) return chunk.length === 0 ? undefined : Number(chunk[0] === LF);
    let start = 0;
    let at = 0;
    while (at < chunk.length) {
      if (this.#lineStart) {
        const byte = chunk[at];
        if (byte !== SPACE && byte !== TAB) {
          this.#endField(chunk.subarray(start, at));
          start = at;
        }
        if (byte === CR || byte === LF) {
          this.#ended = true;
          // The rest of the empty line, and so the body, is still to come.
          if (byte === LF) return at + 1;
          return at + 1 < chunk.length ? at + (chunk[at + 1] === LF ? 2 : 1) : undefined;
        }
      }
      const lf = chunk.indexOf(LF, at);
      this.#lineStart = lf >= 0;
      at = lf < 0 ? chunk.length : lf + 1;
    }
    this.#hold(chunk.subarray(start));
    return undefined;
  }

  /** Ends the message: what is held is the last field. */
  finish(): void {
    if (!this.#ended) this.#endField(new Uint8Array(0));
    this.#ended = true;
  }

  /** Ends a field, if one has begun. */
  #endField(rest: Uint8Array): void {
    if (this.#heldLength + rest.length === 0) return;
    if (this.#heldLength > 0) this.#hold(rest);
    else this.octets += rest.length;
    const field = this.#heldLength > 0 ? this.#held.subarray(0, this.#heldLength) : rest;
    this.#heldLength = 0;
    let end = field.length;
    if (field[end - 1] === LF) end--;
    if (field[end - 1] === CR) end--;
    this.section.add(readField(field, this.section.fields.length === 0 ? markBefore(field, end) : 0, end));
  }

  #hold(bytes: Uint8Array): void {
    const needed = this.#heldLength + bytes.length;
    if (needed > this.#held.length) {
      const room = Buffer.allocUnsafe(Math.max(needed, 2 * this.#held.length));
      this.#held.copy(room, 0, 0, this.#heldLength);
      this.#held = room;
    }
    this.#held.set(bytes, this.#heldLength);
    this.#heldLength = needed;
    this.octets += bytes.length;
  }
}

/** Octets of a byte order mark before the first field, which is not stored with it. */
function markBefore(field: Uint8Array, end: number): number {
  const mark = markLength(field);
  const lf = field.indexOf(LF);
  return mark > 0 && isField(field, mark, lf < 0 ? end : lf) ? mark : 0;
}
