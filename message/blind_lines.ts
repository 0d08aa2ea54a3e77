/**
 * Blind-copy fields that no header section holds: those after a line that is not a field, as programs write them that put
 * a greeting or a log line on top. Readers show that paragraph as text, so the fields are removed from it.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { concat } from "../base/concat.ts";
import { headerFields } from "./header_section.ts";

/** Fields that name blind-copy recipients, in lower case. */
export const BLIND_FIELDS: ReadonlySet<string> = new Set(["bcc", "resent-bcc"]);

/** Octets of the paragraph that are searched; no program writes a longer header section by mistake. */
const MAX_SEARCHED = 64 * 1024;
const CR = 13;
const LF = 10;

/** Reads the first paragraph of a message without a header section. */
export class BlindLines {
  /** Whether a field has been removed. */
  removed = false;
  #held: Uint8Array[] = [];
  #length = 0;
  /** Where the line under way begins, and whether nothing is in it. */
  #lineStart = 0;
  #isEmptyLine = true;

  /**
   * Takes bytes, cut anywhere, with lines ending in CRLF.
   * @returns all bytes so far, without the fields, once the paragraph is over; `undefined` before
   */
  push(chunk: Uint8Array): Uint8Array | undefined {
    const isOver = this.#findEnd(chunk);
    // A copy: the chunk is valid during the call only.
    this.#held.push(chunk.slice());
    this.#length += chunk.length;
    if (!isOver && this.#length < MAX_SEARCHED) return undefined;
    return this.#withoutFields(this.#lineStart);
  }

  /** All bytes so far, without the fields, at the end of the message. */
  finish(): Uint8Array {
    return this.#withoutFields(this.#length);
  }

  #withoutFields(end: number): Uint8Array {
    const all = concat(...this.#held);
    const fields = headerFields(all.subarray(0, end));
    const kept = fields.filter(({ name }) => !BLIND_FIELDS.has(name));
    if (kept.length === fields.length) return all;
    this.removed = true;
    const text = kept.map((field) => `${field.text}\r\n`).join("");
    return concat(Buffer.from(text, "latin1"), all.subarray(end));
  }

  /** Looks for the empty line; `#lineStart` is where it begins. */
  #findEnd(chunk: Uint8Array): boolean {
    for (let at = 0; at < Math.min(chunk.length, MAX_SEARCHED - this.#length); at++) {
      if (chunk[at] === LF) {
        if (this.#isEmptyLine) return true;
        this.#lineStart = this.#length + at + 1;
        this.#isEmptyLine = true;
      } else if (chunk[at] !== CR) this.#isEmptyLine = false;
    }
    return false;
  }
}
