/**
 * What a relay may do to a message that a program hands in (RFC 6409 §8): note which fields are missing, complete bare
 * addresses, and see whether there are bytes above 127. Everything else goes through byte for byte.
 *
 * @module
 */
import { Buffer, isAscii } from "node:buffer";
import { latin1 } from "../base/latin1.ts";
import { completeAddresses } from "./address_list.ts";

/** What was seen of a message that has gone through. */
export interface SubmittedContent {
  /** Whether the header section has a byte above 127. */
  readonly eightBitHeader: boolean;
  /** Whether the body has one. */
  readonly eightBitBody: boolean;
  /** Whether there is no Date field. */
  readonly lacksDate: boolean;
  /** Whether there is no Message-ID field. */
  readonly lacksMessageId: boolean;
}

/** Octets of a header section that are looked at; a longer one passes as it is. */
const MAX_HEADER = 256 * 1024;
const FIRST_BUFFER = 4096;

const LF = 10;
const CR = 13;
const SPACE = 32;
const TAB = 9;

const ADDRESS_FIELDS = new Set(["from", "sender", "reply-to", "to", "cc"]);

const encoder = new TextEncoder();
const NOTHING = new Uint8Array(0);
const EMPTY_LINE = encoder.encode("\r\n");

/** Watches one message as it streams by. */
export class SubmittedMessage {
  readonly #qualifyDomain: string;
  /** The header section so far; `undefined` when it is over. */
  #held: Uint8Array | undefined = NOTHING;
  #length = 0;
  /** Where the line begins that is not complete yet. */
  #lineStart = 0;
  /** Up to where there is no end of that line, so that no byte is looked at twice. */
  #scanned = 0;
  #eightBitHeader = false;
  #eightBitBody = false;
  #names = new Set<string>();
  #overlong = false;

  /** `qualifyDomain` completes bare addresses. */
  constructor(qualifyDomain: string) {
    this.#qualifyDomain = qualifyDomain;
  }

  /**
   * Takes bytes, cut anywhere, with lines ending in CRLF; adds to `pieces` what goes on. The pieces are valid as long
   * as the chunk is.
   */
  push(chunk: Uint8Array, pieces: Uint8Array[]): void {
    if (this.#held === undefined) return this.#pushBody(chunk, pieces);
    // As a rule the first chunk has all of the header section, and need not be copied.
    const held = this.#length === 0 ? chunk : this.#append(chunk);
    for (;;) {
      const lf = held.indexOf(LF, this.#scanned);
      this.#scanned = lf < 0 ? held.length : lf + 1;
      if (lf < 0) break;
      const line = held.subarray(this.#lineStart, lf + 1);
      if (line.length === 2 && line[0] === CR) return this.#endHeader(held, this.#lineStart, pieces, false);
      if (!this.#isHeaderLine(line)) return this.#endHeader(held, this.#lineStart, pieces, true);
      this.#lineStart = lf + 1;
    }
    if (held.length > MAX_HEADER) {
      this.#overlong = true;
      this.#held = undefined;
      this.#eightBitHeader ||= !isAscii(held);
      pieces.push(held);
    } else if (held === chunk) {
      this.#append(chunk);
    }
  }

  /** Adds to `pieces` what was still held back, at the end of the message. */
  finish(pieces: Uint8Array[]): void {
    if (this.#held === undefined) return;
    const held = this.#held.subarray(0, this.#length);
    const last = held.subarray(this.#lineStart);
    // A last line without its end may be a field or the beginning of a body.
    const broken = last.length > 0 && !this.#isHeaderLine(last);
    this.#endHeader(held, broken ? this.#lineStart : held.length, pieces, broken);
  }

  /** What was seen; to be asked when all has gone through. */
  get content(): SubmittedContent {
    return {
      eightBitHeader: this.#eightBitHeader,
      eightBitBody: this.#eightBitBody,
      // In an overlong section the field may stand where nobody looked, and two of them are worse than none.
      lacksDate: !this.#overlong && !this.#names.has("date"),
      lacksMessageId: !this.#overlong && !this.#names.has("message-id"),
    };
  }

  /** Keeps a copy of the chunk; returns all that is kept. */
  #append(chunk: Uint8Array): Uint8Array {
    let held = this.#held ?? NOTHING;
    const needed = this.#length + chunk.length;
    if (needed > held.length) {
      const larger = new Uint8Array(Math.max(needed, 2 * held.length, FIRST_BUFFER));
      larger.set(held.subarray(0, this.#length));
      this.#held = held = larger;
    }
    held.set(chunk, this.#length);
    this.#length = needed;
    return held.subarray(0, needed);
  }

  #isHeaderLine(line: Uint8Array): boolean {
    const first = line[0];
    // A continuation needs something to continue.
    if (first === SPACE || first === TAB) return this.#lineStart > 0;
    return fieldName(latin1(line)) !== undefined;
  }

  /** Passes on what is held, the header section up to `end`; `broken`: the empty line is missing there. */
  #endHeader(held: Uint8Array, end: number, pieces: Uint8Array[], broken: boolean): void {
    this.#held = undefined;
    const header = held.subarray(0, end);
    this.#eightBitHeader = !isAscii(header);
    const edited = this.#edit(latin1(header));
    if (edited !== undefined) pieces.push(edited);
    else if (header.length > 0) pieces.push(header);
    // Without it the first lines of the body would belong to the fields that are put on top.
    if (broken) pieces.push(EMPTY_LINE);
    this.#pushBody(held.subarray(end), pieces);
  }

  /** Notes the fields' names; gives the header section anew where an address was completed. */
  #edit(header: string): Uint8Array | undefined {
    let changed = false;
    const fields = splitFields(header).map((field) => {
      const name = fieldName(field);
      if (name === undefined) return field;
      const lower = name.toLowerCase();
      this.#names.add(lower);
      if (!ADDRESS_FIELDS.has(lower)) return field;
      const colon = field.indexOf(":") + 1;
      const completed = completeAddresses(field.slice(colon), this.#qualifyDomain);
      if (completed === undefined) return field;
      changed = true;
      return field.slice(0, colon) + completed;
    });
    return changed ? Buffer.from(fields.join(""), "latin1") : undefined;
  }

  #pushBody(chunk: Uint8Array, pieces: Uint8Array[]): void {
    if (chunk.length === 0) return;
    if (!this.#eightBitBody) this.#eightBitBody = !isAscii(chunk);
    pieces.push(chunk);
  }
}

/** The fields, each with its CRLFs and continuations. */
function splitFields(header: string): string[] {
  return header === "" ? [] : header.split(/(?<=\n)(?![ \t])/);
}

/** The field's name (RFC 5322 §2.2), with the white space before the colon that §4.5 still allows. */
function fieldName(field: string): string | undefined {
  return /^([!-9;-~]{1,100})[ \t]*:/.exec(field)?.[1];
}
