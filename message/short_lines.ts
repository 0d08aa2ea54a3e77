/**
 * Encodes parts of a message in quoted-printable (RFC 2045 §6.7) where some servers would not take them: with
 * lines of more than 998 octets, or with bytes above 127. What a reader sees stays the same.
 *
 * @module
 */
import { Buffer, isAscii } from "node:buffer";
import { MAX_LINE } from "./fold_lines.ts";
import type { HeaderSection } from "./header_section.ts";
import { MalformedMimeError, type MimeHandler, type MimeLeaf, MimeWalker } from "./mime_walker.ts";
import { QuotedPrintableEncoder } from "./quoted_printable.ts";

/** What to encode. */
export interface EncodingRules {
  /** Whether to encode for bytes above 127 too, and not only for long lines. */
  readonly eightBit: boolean;
  /** Whether to encode any part, also in messages within the message, or only text of the message itself. */
  readonly anyPart: boolean;
}

/** Which parts are to be encoded. */
export interface EncodingPlan {
  /** Their indices. */
  readonly parts: ReadonlySet<number>;
  /** What should be encoded and cannot be, with the reason, for the log. */
  readonly left: readonly string[];
}

type Chunks = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/** The most reasons that are given. */
const MAX_REASONS = 10;

/** Plans the encoding of a message with lines ending in CRLF. Where its parts are ambiguous, nothing is encoded. */
export async function planEncoding(message: Chunks, rules: EncodingRules): Promise<EncodingPlan> {
  const survey = new Survey(rules);
  try {
    const walker = new MimeWalker(survey, { intoMessages: rules.anyPart });
    for await (const chunk of message) walker.push(chunk);
    walker.finish();
  } catch (error) {
    if (!(error instanceof MalformedMimeError)) throw error;
    return { parts: new Set(), left: [`malformed MIME: ${error.message}`] };
  }
  return { parts: survey.parts, left: [...survey.left].slice(0, MAX_REASONS) };
}

/** The message with these parts encoded. */
export async function* encodeParts(
  message: Chunks,
  { parts }: EncodingPlan,
  rules: EncodingRules,
): AsyncGenerator<Uint8Array, void, void> {
  const writer = new Writer(parts);
  const walker = new MimeWalker(writer, { intoMessages: rules.anyPart });
  for await (const chunk of message) {
    walker.push(chunk);
    yield writer.take();
  }
  walker.finish();
  yield writer.take();
}

/** Finds the parts to encode. */
class Survey implements MimeHandler {
  readonly parts = new Set<number>();
  readonly left = new Set<string>();
  readonly #rules: EncodingRules;
  #calls = false;
  /** Octets of the line so far. */
  #lineLength = 0;

  constructor(rules: EncodingRules) {
    this.#rules = rules;
  }

  header(bytes: Uint8Array, { index }: { readonly index: number }): void {
    // The header of the message itself is repaired elsewhere.
    if (index === 0) return;
    this.#look(bytes);
    if (this.#calls) this.left.add("the header of a part");
    this.#calls = false;
  }

  body(bytes: Uint8Array): void {
    if (!this.#calls) this.#look(bytes);
  }

  end({ index, type, encoding, sealed, attached }: MimeLeaf): void {
    const { anyPart } = this.#rules;
    if (this.#calls) {
      const encoded = encoding !== "7bit" && encoding !== "8bit" && encoding !== "binary";
      if (sealed) this.left.add("a part is signed or encrypted");
      else if (encoded) this.left.add(`a part of type ${type} is encoded as ${encoding}`);
      else if (!anyPart && (attached || !type.startsWith("text/"))) {
        this.left.add(`a part is of type ${type}`);
      } else this.parts.add(index);
    }
    this.#calls = false;
    this.#lineLength = 0;
  }

  other(bytes: Uint8Array): void {
    this.#look(bytes);
    if (this.#calls) this.left.add("text outside of all parts");
    this.#calls = false;
  }

  #look(bytes: Uint8Array): void {
    if (this.#rules.eightBit && !isAscii(bytes)) this.#calls = true;
    let start = -this.#lineLength;
    for (let lf = bytes.indexOf(10); lf >= 0; lf = bytes.indexOf(10, lf + 1)) {
      if (lf - start > MAX_LINE + 1) this.#calls = true;
      start = lf + 1;
    }
    this.#lineLength = bytes.length - start;
    if (this.#lineLength > MAX_LINE + 1) this.#calls = true;
  }
}

const encoder = new TextEncoder();
const QUOTED_PRINTABLE = "Content-Transfer-Encoding: quoted-printable\r\n";

/** Rewrites the message. */
class Writer implements MimeHandler {
  readonly #parts: ReadonlySet<number>;
  #pieces: Uint8Array[] = [];
  #encoder: QuotedPrintableEncoder | undefined;

  constructor(parts: ReadonlySet<number>) {
    this.#parts = parts;
  }

  /** Takes what has been written since the last call. */
  take(): Uint8Array {
    const bytes = Buffer.concat(this.#pieces);
    this.#pieces = [];
    return bytes;
  }

  header(
    bytes: Uint8Array,
    { index, section }: { readonly index: number; readonly section: HeaderSection },
  ): void {
    if (!this.#parts.has(index)) {
      this.#pieces.push(bytes);
      return;
    }
    const version = index === 0 && section.named("mime-version").length === 0 ? "MIME-Version: 1.0\r\n" : "";
    const fields = section.fields.filter(({ name }) => name !== "content-transfer-encoding");
    const text = fields.map(({ text }) => `${text}\r\n`).join("");
    this.#pieces.push(
      Uint8Array.from(text, (character) => character.charCodeAt(0)),
      encoder.encode(`${version}${QUOTED_PRINTABLE}\r\n`),
    );
    this.#encoder = new QuotedPrintableEncoder();
  }

  body(bytes: Uint8Array, { index }: MimeLeaf): void {
    // A copy: the walker reuses its buffer.
    this.#pieces.push(
      this.#encoder !== undefined && this.#parts.has(index) ? this.#encoder.push(bytes) : bytes.slice(),
    );
  }

  end(): void {
    if (this.#encoder !== undefined) this.#pieces.push(this.#encoder.finish());
    this.#encoder = undefined;
  }

  other(bytes: Uint8Array): void {
    this.#pieces.push(bytes.slice());
  }
}
