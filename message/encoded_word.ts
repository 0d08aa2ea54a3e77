/**
 * Encoded words (RFC 2047): text that is not ASCII in header fields.
 *
 * @module
 */
import { Buffer, isUtf8 } from "node:buffer";

/** Characters of a line that holds an encoded word (RFC 2047 §2), which then has at most 75. */
const MAX_LINE = 76;
const HEX = "0123456789ABCDEF";
// Characters allowed unencoded in every place of an encoded word (§5, the strictest of its rules).
const SAFE = new Set(
  Buffer.from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/"),
);
const SPACE = 32;
/** Characters of each octet in the encoding Q. */
const QUOTED_LENGTHS = Uint8Array.from(
  { length: 256 },
  (_, byte) => SAFE.has(byte) || byte === SPACE ? 1 : 3,
);
const IS_ENCODED = /^=\?[^? \t\r\n]+\?[BbQq]\?[^? \t\r\n]*\?=$/;

/** Text as octets, with its character set. */
export interface ForeignText {
  /** One character an octet. */
  readonly text: string;
  /** The name of the character set, such as `utf-8`. */
  readonly charset: string;
}

/** The character set of text in a header field: UTF-8 where that is possible, else what the message says it uses. */
export function charsetOf(text: string, declared: string | undefined): string {
  if (isUtf8(Buffer.from(text, "latin1"))) return "utf-8";
  const usable = declared !== undefined && /^[A-Za-z0-9][A-Za-z0-9._+-]{0,39}$/.test(declared) &&
    !/^(?:utf-?8|us-ascii)$/i.test(declared);
  // RFC 1428: the character set when it is unknown.
  return usable ? declared : "unknown-8bit";
}

/**
 * The text as encoded words, each holding whole characters, in lines of at most 76 characters.
 * @param column characters that stand before it on its line
 */
export function encodeWords({ text, charset }: ForeignText, column = 1): string {
  const bytes = Buffer.from(text, "latin1");
  const quoted = isShorterQuoted(bytes);
  const frame = `=?${charset}?Q??=`.length;
  let out = "";
  let room = MAX_LINE - column - frame;
  for (let at = 0; at < bytes.length;) {
    let end = at;
    let length = 0;
    while (end < bytes.length) {
      const next = charset === "utf-8" ? characterEnd(bytes, end) : end + 1;
      const longer = quoted ? length + quotedLength(bytes, end, next) : Math.ceil((next - at) / 3) * 4;
      if (longer > room) break;
      length = longer;
      end = next;
    }
    if (end > at) {
      const part = bytes.subarray(at, end);
      out += `=?${charset}?${quoted ? `Q?${quote(part)}` : `B?${part.toString("base64")}`}?=`;
    }
    at = end;
    if (at < bytes.length) out += "\r\n ";
    room = MAX_LINE - 1 - frame;
  }
  return out;
}

/**
 * An unstructured value with encoded words for what is not ASCII; words of ASCII before and after stay as they are,
 * and so do encoded words.
 * @param value one character an octet, with its folding
 * @param label what is before it
 */
export function encodeUnstructured(
  value: string,
  { charset, label }: { readonly charset: string; readonly label: string },
): string {
  const parts = value.split(/([ \t\r\n]+)/);
  // Words stand at even places, white space between them.
  const foreign = (at: number) => !isAscii(parts[at] ?? "");
  const encoded = (at: number) => at >= 0 && isEncodedWord(parts[at] ?? "");
  const lines = new Lines(label);
  for (let at = 0; at < parts.length; at += 2) {
    const space = parts[at - 1] ?? "";
    if (!foreign(at)) {
      lines.add(space, parts[at] ?? "");
      continue;
    }
    let last = at;
    for (let next = at + 2; next < parts.length && !encoded(next); next += 2) if (foreign(next)) last = next;
    // White space between encoded words is not part of the text (§6.2): what is must stand in them.
    const before = encoded(at - 2) ? unfolded(space) : "";
    const behind = encoded(last + 2) ? unfolded(parts[last + 1] ?? "") : "";
    const text = parts.slice(at, last + 1).map((part, i) => i % 2 === 0 ? part : unfolded(part)).join("");
    lines.addWords(space, { text: before + text + behind, charset });
    at = last;
  }
  return lines.text;
}

/** A name as a phrase (RFC 5322 §3.2.5): a quoted string where it is ASCII, else encoded words. */
export function encodePhrase({ text, charset }: ForeignText, column = 1): string {
  return isAscii(text) ? `"${text.replaceAll(/["\\]/g, "\\$&")}"` : encodeWords({ text, charset }, column);
}

/** Whether a word is an encoded one. */
export function isEncodedWord(word: string): boolean {
  return IS_ENCODED.test(word);
}

/** Whether a text has no character above 127. */
export function isAscii(text: string): boolean {
  return !/[\u0080-\uffff]/.test(text);
}

/** A value being built, with the length of its last line. */
class Lines {
  text = "";
  #column: number;
  /** Whether the last line holds an encoded word, and so must be short. */
  #short = false;

  constructor(label: string) {
    this.#column = label.length;
  }

  add(space: string, word: string): void {
    const fold = this.#short && this.#column + space.length + word.length > MAX_LINE && !space.includes("\n");
    this.#append(fold ? `\r\n${space}` : space);
    this.#append(word);
  }

  addWords(space: string, words: ForeignText): void {
    // The first word needs some room on its line.
    this.#append(this.#column + space.length > MAX_LINE / 2 && /^[ \t]/.test(space) ? `\r\n${space}` : space);
    this.#append(encodeWords(words, this.#column));
    this.#short = true;
  }

  #append(text: string): void {
    this.text += text;
    const lf = text.lastIndexOf("\n");
    this.#column = lf < 0 ? this.#column + text.length : text.length - lf - 1;
    if (lf >= 0) this.#short = false;
  }
}

/** White space as it counts once unfolded. */
function unfolded(space: string): string {
  return space.replaceAll(/[\r\n]/g, "");
}

function isShorterQuoted(bytes: Uint8Array): boolean {
  return quotedLength(bytes, 0, bytes.length) <= 4 * Math.ceil(bytes.length / 3);
}

function characterEnd(bytes: Uint8Array, start: number): number {
  let end = start + 1;
  while (end < bytes.length && ((bytes[end] as number) & 0xc0) === 0x80) end++;
  return end;
}

function quotedLength(bytes: Uint8Array, start: number, end: number): number {
  let length = 0;
  for (let at = start; at < end; at++) length += QUOTED_LENGTHS[bytes[at] as number] as number;
  return length;
}

function quote(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) {
    if (SAFE.has(byte)) text += String.fromCharCode(byte);
    else if (byte === SPACE) text += "_";
    else text += `=${HEX[byte >> 4]}${HEX[byte & 15]}`;
  }
  return text;
}
