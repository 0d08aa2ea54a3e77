/**
 * The parts of a MIME message as it streams by (RFC 2046): where their headers and bodies are.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { concat } from "../base/concat.ts";
import { fieldValue, HeaderSection } from "./header_section.ts";
import { MAX_HEADER_SECTION } from "./header_field.ts";
import { parseParameters } from "./parameters.ts";

/** A part that holds no other parts. */
export interface MimeLeaf {
  /** Counts the parts of a message, from 0. */
  readonly index: number;
  /** Such as `text/plain`, in lower case. */
  readonly type: string;
  /** Content-Transfer-Encoding in lower case; `7bit` where nothing is said. */
  readonly encoding: string;
  /** Whether it stands in a multipart/signed or multipart/encrypted, where it must stay as it is. */
  readonly sealed: boolean;
  /** Whether it stands in a message within the message. */
  readonly attached: boolean;
}

/** Is told of the parts, in the order of the message. Bytes are valid only during the call. */
export interface MimeHandler {
  /** The header section of a part, with the empty line behind it, if it has one. */
  header(bytes: Uint8Array, part: { readonly index: number; readonly section: HeaderSection }): void;
  /** Bytes of the body of a leaf, cut at the ends of lines, or in longer ones anywhere. */
  body(bytes: Uint8Array, leaf: MimeLeaf): void;
  /** A leaf is over. */
  end(leaf: MimeLeaf): void;
  /** What belongs to no leaf: delimiters, and what stands before, between and behind the parts. */
  other(bytes: Uint8Array): void;
}

/** A message whose parts cannot be told without guessing. The message says why, and holds nothing of the content. */
export class MalformedMimeError extends Error {
  /** Why. */
  constructor(message: string) {
    super(message);
    this.name = "MalformedMimeError";
  }
}

/** Multiparts within each other; as many looks at each line at most. */
const MAX_DEPTH = 20;
/** Octets of an unfinished line that are held, since it may be a delimiter. */
const MAX_HELD = 1024;
const MAX_BOUNDARY = 70;

const LF = 10;
const CR = 13;
const DASH = 45;
const NOTHING = new Uint8Array(0);

interface Level {
  readonly delimiter: Uint8Array;
  readonly sealed: boolean;
  readonly attached: boolean;
  readonly digest: boolean;
}

/** Walks through one message. */
export class MimeWalker {
  readonly #handler: MimeHandler;
  readonly #intoMessages: boolean;
  readonly #levels: Level[] = [];
  #mode: "header" | "leaf" | "other" = "header";
  #leaf: MimeLeaf | undefined;
  #parts = 0;
  /** Whether the part whose header is being read stands in a message within the message. */
  #attached = false;
  #headerLines: Uint8Array[] = [];
  #headerLength = 0;
  #held: Uint8Array = NOTHING;
  #atLineStart = true;

  /** `intoMessages`: messages within the message are not leaves, but have parts of their own. */
  constructor(handler: MimeHandler, { intoMessages = false } = {}) {
    this.#handler = handler;
    this.#intoMessages = intoMessages;
  }

  /**
   * Takes bytes of the message, cut anywhere, with lines ending in CRLF.
   * @throws {MalformedMimeError}
   */
  push(chunk: Uint8Array): void {
    const bytes = this.#held.length === 0 ? chunk : concat(this.#held, chunk);
    this.#held = NOTHING;
    let start = 0;
    for (let lf = bytes.indexOf(LF); lf >= 0; lf = bytes.indexOf(LF, start)) {
      this.#line(bytes.subarray(start, lf + 1));
      start = lf + 1;
      this.#atLineStart = true;
    }
    const rest = bytes.subarray(start);
    if (rest.length === 0) return;
    if (this.#atLineStart && rest.length <= MAX_HELD) {
      this.#held = rest.slice();
    } else {
      this.#line(rest);
      this.#atLineStart = false;
    }
  }

  /**
   * The message is over.
   * @throws {MalformedMimeError}
   */
  finish(): void {
    if (this.#held.length > 0) this.#line(this.#held);
    this.#endPart();
    if (this.#levels.length > 0) throw new MalformedMimeError("a multipart has no end");
  }

  #line(line: Uint8Array): void {
    if (this.#atLineStart && line[0] === DASH && line[1] === DASH && this.#delimiter(line)) return;
    switch (this.#mode) {
      case "header":
        this.#headerLength += line.length;
        if (this.#headerLength > MAX_HEADER_SECTION) {
          throw new MalformedMimeError("the header of a part has no end");
        }
        this.#headerLines.push(line.slice());
        if (this.#atLineStart && (line[0] === LF || (line[0] === CR && line[1] === LF))) this.#endHeader();
        break;
      case "leaf":
        if (this.#leaf !== undefined) this.#handler.body(line, this.#leaf);
        break;
      case "other":
        this.#handler.other(line);
    }
  }

  /** Whether the line is a delimiter, which then has been dealt with. */
  #delimiter(line: Uint8Array): boolean {
    let end = line.length;
    while (end > 0 && isSpace(line[end - 1] as number)) end--;
    for (let at = this.#levels.length - 1; at >= 0; at--) {
      const level = this.#levels[at];
      if (level === undefined) break;
      const { delimiter, attached } = level;
      const closes = end === delimiter.length + 2 && line[end - 1] === DASH && line[end - 2] === DASH;
      if (end !== delimiter.length && !closes) continue;
      if (!delimiter.every((byte, i) => line[i] === byte)) continue;
      this.#endPart();
      this.#handler.other(line);
      this.#levels.length = closes ? at : at + 1;
      this.#mode = closes ? "other" : "header";
      this.#attached = attached;
      return true;
    }
    return false;
  }

  #endPart(): void {
    if (this.#mode === "header") this.#endHeader();
    if (this.#leaf !== undefined) this.#handler.end(this.#leaf);
    this.#leaf = undefined;
  }

  #endHeader(): void {
    const bytes = Buffer.concat(this.#headerLines);
    this.#headerLines = [];
    this.#headerLength = 0;
    const section = HeaderSection.of(withoutEmptyLine(bytes));
    const index = this.#parts++;
    this.#handler.header(bytes, { index, section });
    const above = this.#levels.at(-1);
    const { value: type, parameters } = typeOf(section, above?.digest ? "message/rfc822" : "text/plain");
    const encoding = encodingOf(section);
    const identity = encoding === "7bit" || encoding === "8bit" || encoding === "binary";
    const sealed = above?.sealed ?? false;
    if (type.startsWith("multipart/")) {
      const boundary = parameters.get("boundary")?.value ?? "";
      if (!identity) throw new MalformedMimeError("a multipart is encoded");
      if (boundary === "" || boundary.length > MAX_BOUNDARY) {
        throw new MalformedMimeError("a multipart has no boundary");
      }
      if (this.#levels.length === MAX_DEPTH) throw new MalformedMimeError("multiparts are nested too deeply");
      this.#levels.push({
        delimiter: Buffer.from(`--${boundary}`, "latin1"),
        sealed: sealed || type === "multipart/signed" || type === "multipart/encrypted",
        attached: this.#attached,
        digest: type === "multipart/digest",
      });
      this.#mode = "other";
    } else if (this.#intoMessages && identity && (type === "message/rfc822" || type === "message/global")) {
      this.#mode = "header";
      this.#attached = true;
    } else {
      this.#leaf = { index, type, encoding, sealed, attached: this.#attached };
      this.#mode = "leaf";
    }
  }
}

function typeOf(section: HeaderSection, byDefault: string) {
  const [field, second] = section.named("content-type");
  if (second !== undefined) throw new MalformedMimeError("a part has two Content-Type fields");
  const parsed = parseParameters(field === undefined ? byDefault : fieldValue(field));
  if (parsed === undefined || !parsed.value.includes("/")) {
    throw new MalformedMimeError("a Content-Type field cannot be read");
  }
  return parsed;
}

function encodingOf(section: HeaderSection): string {
  const [field, second] = section.named("content-transfer-encoding");
  if (second !== undefined) throw new MalformedMimeError("a part has two Content-Transfer-Encoding fields");
  const encoding = parseParameters(field === undefined ? "7bit" : fieldValue(field))?.value;
  if (encoding === undefined) {
    throw new MalformedMimeError("a Content-Transfer-Encoding field cannot be read");
  }
  return encoding;
}

function withoutEmptyLine(header: Uint8Array): Uint8Array {
  let end = header.length;
  if (header[end - 1] === LF) end--;
  if (header[end - 1] === CR) end--;
  // Of a header without fields only the empty line is there.
  return end === 0 || header[end - 1] === LF ? header.subarray(0, end) : header;
}

function isSpace(byte: number): boolean {
  return byte === 32 || byte === 9 || byte === CR || byte === LF;
}
