/**
 * The parts of a MIME message as it streams by (RFC 2046): where their headers and bodies are.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { concat } from "../base/concat.ts";
import { fieldValue, HeaderSection } from "./header_section.ts";
import { MAX_REPAIRED_SECTION } from "./header_field.ts";
import { parseParameters } from "./parameters.ts";

/** A part without its own parts. */
export interface MimeLeaf {
  /** Counts the parts of a message, from 0. */
  readonly index: number;
  /** Such as `text/plain`, in lower case. */
  readonly type: string;
  /** Content-Transfer-Encoding in lower case; `7bit` if absent. */
  readonly encoding: string;
  /** Whether it is in a multipart/signed or multipart/encrypted, which must not change. */
  readonly sealed: boolean;
  /** Whether it is in a message within the message. */
  readonly attached: boolean;
}

/** Receives the parts, in the order of the message. Bytes are valid only during the call. */
export interface MimeHandler {
  /** The header section of a part, with the empty line after it, if it has one. */
  header(bytes: Uint8Array, part: { readonly index: number; readonly section: HeaderSection }): void;
  /** Bytes of the body of a leaf, whole lines, or pieces of longer ones. */
  body(bytes: Uint8Array, leaf: MimeLeaf): void;
  /** A leaf is over. */
  end(leaf: MimeLeaf): void;
  /** Everything outside of leaves: delimiters, and text before, between and after the parts. */
  other(bytes: Uint8Array): void;
}

/** A message whose parts are ambiguous. The error's message says why, and quotes nothing. */
export class MalformedMimeError extends Error {
  /** Why. */
  constructor(message: string) {
    super(message);
    this.name = "MalformedMimeError";
  }
}

/** The deepest nesting of multiparts; each line is compared at most as often. */
const MAX_DEPTH = 20;
/** Octets of an unfinished line that are held, since it may be a delimiter. */
const MAX_HELD = 1024;
const MAX_BOUNDARY = 70;
/** Parts, and lines of all header sections, together. */
const MAX_LINES = 20_000;

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

/** Walks the parts of one message. */
export class MimeWalker {
  readonly #handler: MimeHandler;
  readonly #intoMessages: boolean;
  readonly #levels: Level[] = [];
  #mode: "header" | "leaf" | "other" = "header";
  #leaf: MimeLeaf | undefined;
  #parts = 0;
  /** Whether the part whose header is being read is in a message within the message. */
  #attached = false;
  #headerLines: Uint8Array[] = [];
  #headerLength = 0;
  #lines = 0;
  #held: Uint8Array = NOTHING;
  #atLineStart = true;

  /** `intoMessages`: messages within the message are not leaves, but have their own parts. */
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
    // Where the line begins, and where bytes not passed on yet begin.
    let at = 0;
    let start = 0;
    for (let lf = bytes.indexOf(LF); lf >= 0; lf = bytes.indexOf(LF, at)) {
      if (this.#mode === "header" || this.#mayDelimit(bytes, at)) {
        const line = bytes.subarray(at, lf + 1);
        const level = this.#delimited(line);
        if (level !== undefined || this.#mode === "header") {
          this.#handOn(bytes.subarray(start, at));
          if (level === undefined) this.#headerLine(line);
          else this.#delimiter(line, level);
          start = lf + 1;
        }
      }
      at = lf + 1;
      this.#atLineStart = true;
    }
    this.#handOn(bytes.subarray(start, at));
    const rest = bytes.subarray(at);
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

  /** The end of the message, or a part of a line whose end has not come. */
  #line(line: Uint8Array): void {
    const level = this.#mayDelimit(line, 0) ? this.#delimited(line) : undefined;
    if (level !== undefined) this.#delimiter(line, level);
    else if (this.#mode === "header") this.#headerLine(line);
    else this.#handOn(line);
  }

  #mayDelimit(bytes: Uint8Array, at: number): boolean {
    return this.#atLineStart && bytes[at] === DASH && bytes[at + 1] === DASH;
  }

  #headerLine(line: Uint8Array): void {
    this.#headerLength += line.length;
    if (this.#headerLength > MAX_REPAIRED_SECTION) {
      throw new MalformedMimeError("the header of a part has no end");
    }
    this.#count();
    this.#headerLines.push(line.slice());
    if (this.#atLineStart && (line[0] === LF || (line[0] === CR && line[1] === LF))) this.#endHeader();
  }

  /** A part, or a header line, costs more time and memory than its octets. */
  #count(): void {
    if (++this.#lines > MAX_LINES) throw new MalformedMimeError("too many parts, or lines of their headers");
  }

  /** What is neither header nor delimiter. */
  #handOn(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    if (this.#mode === "other") this.#handler.other(bytes);
    else if (this.#leaf !== undefined) this.#handler.body(bytes, this.#leaf);
  }

  /** The index of the multipart that the line delimits. */
  #delimited(line: Uint8Array): number | undefined {
    if (!this.#mayDelimit(line, 0)) return undefined;
    let end = line.length;
    while (end > 0 && isSpace(line[end - 1] as number)) end--;
    for (let at = this.#levels.length - 1; at >= 0; at--) {
      const { delimiter } = this.#levels[at] as Level;
      if (end !== delimiter.length && !closes(line, { end, delimiter })) continue;
      if (delimiter.every((byte, i) => line[i] === byte)) return at;
    }
    return undefined;
  }

  #delimiter(line: Uint8Array, at: number): void {
    const { delimiter, attached } = this.#levels[at] as Level;
    let end = line.length;
    while (end > 0 && isSpace(line[end - 1] as number)) end--;
    this.#count();
    this.#endPart();
    this.#handler.other(line);
    const isLast = closes(line, { end, delimiter });
    this.#levels.length = isLast ? at : at + 1;
    this.#mode = isLast ? "other" : "header";
    this.#attached = attached;
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

/** Whether the line, apart from trailing white space, is the delimiter after the last part. */
function closes(
  line: Uint8Array,
  { end, delimiter }: { readonly end: number; readonly delimiter: Uint8Array },
): boolean {
  return end === delimiter.length + 2 && line[end - 1] === DASH && line[end - 2] === DASH;
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
