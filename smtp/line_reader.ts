/**
 * What comes in on a connection: command lines and, between them, mail data, over one bounded buffer.
 *
 * @module
 */
import { latin1 } from "../base/latin1.ts";
import { SpareBuffers } from "../base/spare_buffers.ts";
import type { Transport } from "../net/transport.ts";

/** A line, or why there is none. Only `line` is a command. */
export type Line =
  | { readonly kind: "line"; readonly text: string }
  /** The line ended with LF alone; its text, as far as it is one, is for the log. */
  | { readonly kind: "bare-lf"; readonly text: string }
  /** More than the limit came without a line end; the rest of the line is dropped as it comes. */
  | { readonly kind: "too-long" }
  /** A control character, a bare CR, or bytes that are not UTF-8; in EHLO and HELO such bytes become U+FFFD. */
  | { readonly kind: "unreadable" }
  /** The peer closed. */
  | { readonly kind: "end" };

const LF = 10;
const CR = 13;

// While lines are read, until a read fills it: idle connections are many, and each has one.
const FIRST = 512;
// From then on: room for a command of the longest kind, or a group of pipelined ones.
const SMALL = 4096;
// While data is read: fewer, larger reads.
const LARGE = 64 * 1024;
// Bytes that an earlier connection left in a spare buffer are never read.
const first = new SpareBuffers(FIRST, 32);
const small = new SpareBuffers(SMALL, 32);
const large = new SpareBuffers(LARGE, 32);

// A byte order mark is part of the line, and makes it no command.
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const lenientDecoder = new TextDecoder("utf-8");
// deno-lint-ignore no-control-regex
const CONTROL = /[\u0000-\u0008\u000a-\u001f\u007f]/;

const HELLO = /^(?:EHLO|HELO)[ \t]/i;

const NOTHING = new Uint8Array(0);

/** Reads lines and data from a transport. */
export class LineReader {
  readonly #maxLine: number;
  #buffer = first.take();
  /** Where the buffer for lines comes from. */
  #lines = first;
  #start = 0;
  #end = 0;
  /** Octets of the line that begins at #start which are known to hold no LF. */
  #searched = 0;
  /** Whether the rest of a line that was too long is being dropped. */
  #dropping = false;

  /**
   * Nothing is read yet.
   * @param maxLine The longest line in octets, CRLF included; at most 4,096.
   */
  constructor(maxLine: number) {
    if (maxLine > SMALL) throw new RangeError(`a line has at most ${SMALL} octets`);
    this.#maxLine = maxLine;
  }

  /** What has been read and not consumed; valid until the next read. */
  get available(): Uint8Array {
    return this.#buffer.subarray(this.#start, this.#end);
  }

  /** Consumes bytes of {@linkcode LineReader.available}. */
  consume(octets: number): void {
    this.#start += octets;
    this.#searched = 0;
  }

  /** Forgets all that has been read, as STARTTLS asks (RFC 3207 §4.2); returns how much that was. */
  discard(): number {
    const octets = this.#end - this.#start;
    this.#start = this.#end = this.#searched = 0;
    this.#dropping = false;
    return octets;
  }

  /** Makes room for mail data. */
  expectData(): void {
    if (this.#buffer.length === LARGE) return;
    this.#moveTo(large);
  }

  /** Takes a buffer of these, into which what is available fits. */
  #moveTo(buffers: SpareBuffers): void {
    const next = buffers.take();
    next.set(this.available);
    this.#end -= this.#start;
    this.#start = 0;
    keep(this.#buffer);
    this.#buffer = next;
  }

  /** Returns the large buffer once it is empty, so that an idle connection holds little. */
  #shrink(): void {
    if (this.#buffer.length !== LARGE || this.#end > this.#start) return;
    this.#moveTo(this.#lines);
  }

  /** Returns the buffer; nothing may be read afterwards. */
  release(): void {
    keep(this.#buffer);
    this.#buffer = NOTHING;
    this.#start = this.#end = 0;
  }

  /** Reads more; `false` at the end of the stream. */
  fill(transport: Transport): Promise<boolean> {
    return transport.read(this.#room()).then((octets) => {
      this.#end += octets ?? 0;
      if (this.#end === FIRST && this.#buffer.length === FIRST) this.#lines = small;
      return octets !== null;
    });
  }

  /** The same while a line is awaited: an empty buffer for data is returned first. */
  fillForLine(transport: Transport, maxLine: number = this.#maxLine): Promise<boolean> {
    if (maxLine <= SMALL) this.#shrink();
    return this.fill(transport);
  }

  /** Where what is read next goes. There is always room, since lines and data are consumed. */
  #room(): Uint8Array {
    if (this.#buffer.length < this.#lines.size) this.#moveTo(this.#lines);
    const rest = this.#end - this.#start;
    if (this.#start > 0) this.#buffer.copyWithin(0, this.#start, this.#end);
    this.#start = 0;
    this.#end = rest;
    return rest === 0 ? this.#buffer : this.#buffer.subarray(rest);
  }

  /**
   * The next line if it has been read already.
   * @param maxLine In place of the usual longest line; {@linkcode LineReader.expectData} makes the room for it
   */
  takeLine(maxLine: number = this.#maxLine): Line | undefined {
    for (;;) {
      const buffer = this.#buffer;
      const start = this.#start;
      const end = this.#dropping ? this.#end : Math.min(this.#end, start + maxLine);
      let lf = start + this.#searched;
      while (lf < end && buffer[lf] !== LF) lf++;
      this.#searched = 0;
      if (this.#dropping) {
        this.#dropping = lf === end;
        this.#start = this.#dropping ? end : lf + 1;
        if (this.#dropping) return undefined;
        continue;
      }
      if (lf === end) {
        if (end - start < maxLine) {
          this.#searched = end - start;
          return undefined;
        }
        this.#dropping = true;
        return { kind: "too-long" };
      }
      this.#start = lf + 1;
      if (lf === start || buffer[lf - 1] !== CR) {
        return { kind: "bare-lf", text: lenientDecoder.decode(buffer.subarray(start, lf)) };
      }
      return decodeLine(buffer, start, lf - 1);
    }
  }
}

function keep(buffer: Uint8Array<ArrayBuffer>): void {
  if (buffer.length === LARGE) large.give(buffer);
  else if (buffer.length === SMALL) small.give(buffer);
  else if (buffer.length === FIRST) first.give(buffer);
}

/** The text of a line. Most are ASCII, for which calling the decoder costs too much. */
function decodeLine(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): Line {
  if (isPrintableAscii(bytes, start, end)) return { kind: "line", text: latin1(bytes, start, end) };
  let text: string;
  try {
    text = decoder.decode(bytes.subarray(start, end));
  } catch {
    // The host name of an old machine, in its own character set: no mail may be refused for it (RFC 5321 §4.1.4).
    if (!HELLO.test(latin1(bytes, start, end))) return { kind: "unreadable" };
    text = lenientDecoder.decode(bytes.subarray(start, end));
  }
  return CONTROL.test(text) ? { kind: "unreadable" } : { kind: "line", text };
}

function isPrintableAscii(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at++) {
    const byte = bytes[at] as number;
    if (byte < 0x20 || byte > 0x7e) return false;
  }
  return true;
}
