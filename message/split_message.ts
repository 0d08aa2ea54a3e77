/**
 * Where the header section of a message ends (RFC 5322 §2.1), and where it begins in the output of programs.
 *
 * @module
 */
import { isField, MAX_REPAIRED_SECTION } from "./header_field.ts";

const LF = 10;
const CR = 13;
const SPACE = 32;
const TAB = 9;
const GREATER = 62;
const FIRST_BUFFER = 4096;

const NOTHING = new Uint8Array(0);
const FROM_LINE = new TextEncoder().encode("From ");
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf];

/** A message, split after its header section. */
export interface SplitMessage {
  /** The fields, each with its line end; the last one may lack it. */
  readonly section: Uint8Array;
  /** The body so far, without the empty line before it. */
  readonly rest: Uint8Array;
  /**
   * What ended the section: the empty line, a line that belongs to no field and so begins the body, or the end of the
   * message.
   */
  readonly by: "empty line" | "other line" | "end";
}

/**
 * Collects the header section of a message that comes in pieces. Reads no octet twice. It takes what
 * comes: callers refuse sections above `MAX_HEADER_SECTION`.
 */
export class HeaderReader {
  #held: Uint8Array = NOTHING;
  #length = 0;
  /** Where the incomplete line begins. */
  #lineStart = 0;
  /** Up to where line ends have been searched. */
  #scanned = 0;

  /** Octets held. */
  get length(): number {
    return this.#length;
  }

  /**
   * Takes bytes, cut anywhere, with lines ending in CRLF or LF. Returns the parts when the section is complete, which
   * are valid as long as the chunk is; nothing may be pushed afterwards.
   */
  push(chunk: Uint8Array): SplitMessage | undefined {
    // Usually the first chunk has all of the header section, and need not be copied.
    const held = this.#length === 0 ? chunk : this.#append(chunk);
    for (;;) {
      const lf = held.indexOf(LF, this.#scanned);
      if (lf < 0) break;
      const start = this.#lineStart;
      const end = this.#scanned = lf + 1;
      if (isEmptyLine(held, start, lf)) return split(held, { end: start, body: end, by: "empty line" });
      if (!this.#continues(held) && !isField(held, start, end)) {
        return split(held, { end: start, body: start, by: "other line" });
      }
      this.#lineStart = end;
    }
    this.#scanned = held.length;
    if (held === chunk) this.#append(chunk);
    return undefined;
  }

  /** The parts of a message that ends within its header section. */
  finish(): SplitMessage {
    const held = this.#held.subarray(0, this.#length);
    const start = this.#lineStart;
    // An unterminated last line may be a field or the beginning of a body.
    const other = start < held.length && !this.#continues(held) && !isField(held, start);
    return other
      ? split(held, { end: start, body: start, by: "other line" })
      : split(held, { end: held.length, body: held.length, by: "end" });
  }

  /** Whether the line continues a field; the first line cannot. */
  #continues(held: Uint8Array): boolean {
    const first = held[this.#lineStart];
    return (first === SPACE || first === TAB) && this.#lineStart > 0;
  }

  #append(chunk: Uint8Array): Uint8Array {
    const needed = this.#length + chunk.length;
    if (needed > this.#held.length) {
      const room = Math.min(2 * this.#held.length, MAX_REPAIRED_SECTION);
      const larger = new Uint8Array(Math.max(needed, room, FIRST_BUFFER));
      larger.set(this.#held.subarray(0, this.#length));
      this.#held = larger;
    }
    this.#held.set(chunk, this.#length);
    this.#length = needed;
    return this.#held.subarray(0, needed);
  }
}

/** Splits a complete message. */
export function splitMessage(message: Uint8Array): SplitMessage {
  const reader = new HeaderReader();
  return reader.push(message) ?? reader.finish();
}

/**
 * Where the first field of a message begins: after a byte order mark, and after lines of an mbox file, which some
 * programs leave at the top; 0 where no field follows these, since they are text then.
 */
export function headerStart(message: Uint8Array): number {
  let start = markLength(message);
  while (isMboxLine(message, start)) {
    const lf = message.indexOf(LF, start);
    if (lf < 0) return 0;
    start = lf + 1;
  }
  return isField(message, start, lineEnd(message, start)) ? start : 0;
}

/** Octets of the byte order mark at the top: 3 or none. */
export function markLength(message: Uint8Array): number {
  return BYTE_ORDER_MARK.every((byte, at) => message[at] === byte) ? BYTE_ORDER_MARK.length : 0;
}

/**
 * Whether a line like those before each message of an mbox file begins here: `From `, with any number of `>` before it.
 */
export function isMboxLine(message: Uint8Array, start = 0): boolean {
  let at = start;
  while (message[at] === GREATER) at++;
  return FROM_LINE.every((byte, i) => message[at + i] === byte);
}

function split(
  message: Uint8Array,
  { end, body, by }: { readonly end: number; readonly body: number; readonly by: SplitMessage["by"] },
): SplitMessage {
  return { section: message.subarray(0, end), rest: message.subarray(body), by };
}

/** Whether nothing is before the LF; some programs write CR CR LF. */
function isEmptyLine(message: Uint8Array, start: number, lf: number): boolean {
  let at = start;
  while (message[at] === CR) at++;
  return at === lf;
}

function lineEnd(message: Uint8Array, start: number): number {
  const lf = message.indexOf(LF, start);
  return lf < 0 ? message.length : lf + 1;
}
