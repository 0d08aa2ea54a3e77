/**
 * A submitted message (RFC 6409), as it streams by: its header section is repaired
 * (submitted_header.ts), its body is inspected and passes unchanged, byte for byte.
 *
 * @module
 */
import { Buffer, isAscii } from "node:buffer";
import { BlindLines } from "./blind_lines.ts";
import { MAX_LINE } from "./fold_lines.ts";
import type { HeaderSection } from "./header_section.ts";
import { HeaderReader, type SplitMessage } from "./split_message.ts";
import {
  BLIND_REMOVED,
  repairHeader,
  type SubmittedHeader,
  type SubmittedHeaderOptions,
} from "./submitted_header.ts";

/** Receives the body of a message. */
export interface BodyWatcher {
  /** Takes bytes of the body, cut anywhere, valid only during the call. */
  push(chunk: Uint8Array): void;
}

/** What a {@linkcode SubmittedMessage} needs to know. */
export interface SubmittedMessageOptions extends SubmittedHeaderOptions {
  /** Called once, with the fields as they are sent; what it returns receives the body. */
  readonly begin?: (section: HeaderSection) => BodyWatcher | undefined;
}

/** The properties of a complete message. */
export interface SubmittedContent {
  /** Whether the header section, as it is sent, has a byte above 127. */
  readonly eightBitHeader: boolean;
  /** Whether the body has one. */
  readonly eightBitBody: boolean;
  /** Whether a line of the body is longer than 998 octets. */
  readonly longLines: boolean;
  /** The repaired header section. */
  readonly header: Pick<SubmittedHeader, "signed" | "repairs" | "left">;
}

const LF = 10;
const EMPTY_LINE = Buffer.from("\r\n");
const UNSEEN = { signed: false, repairs: [], left: [] };

/** Takes one message. */
export class SubmittedMessage {
  readonly #options: SubmittedMessageOptions;
  #reader: HeaderReader | undefined = new HeaderReader();
  #watcher: BodyWatcher | undefined;
  #header: Pick<SubmittedHeader, "signed" | "repairs" | "left"> = UNSEEN;
  /** Looks for Bcc fields where a line that is not a field stands above them. */
  #blindLines: BlindLines | undefined;
  #eightBitHeader = false;
  #eightBitBody = false;
  #longLines = false;
  /** Octets of the line that is not over yet. */
  #lineLength = 0;

  /** `options` say how to repair the header section. */
  constructor(options: SubmittedMessageOptions) {
    this.#options = options;
  }

  /**
   * Takes bytes, cut anywhere, with lines ending in CRLF; adds the output to `pieces`. The pieces are valid as long
   * as the chunk is.
   */
  push(chunk: Uint8Array, pieces: Uint8Array[]): void {
    if (this.#reader === undefined) return this.#pushBody(chunk, pieces);
    const split = this.#reader.push(chunk);
    if (split !== undefined) this.#endHeader(split, pieces);
  }

  /** Adds to `pieces` what was still held back, at the end of the message. */
  finish(pieces: Uint8Array[]): void {
    if (this.#reader !== undefined) this.#endHeader(this.#reader.finish(), pieces);
    if (this.#blindLines !== undefined) this.#endBlindLines(this.#blindLines.finish(), pieces);
    if (this.#lineLength > MAX_LINE) this.#longLines = true;
  }

  /** What was found; valid when the message is complete. */
  get content(): SubmittedContent {
    return {
      eightBitHeader: this.#eightBitHeader,
      eightBitBody: this.#eightBitBody,
      longLines: this.#longLines,
      header: this.#header,
    };
  }

  #endHeader({ section, rest, by }: SplitMessage, pieces: Uint8Array[]): void {
    this.#reader = undefined;
    const header = repairHeader(section, this.#options);
    this.#header = header;
    this.#watcher = this.#options.begin?.(header.section);
    const { changed, added } = header;
    const top = added !== "" || changed !== undefined
      ? Buffer.from(added + (changed ?? ""), "latin1")
      : undefined;
    if (top !== undefined) pieces.push(top);
    if (changed === undefined && section.length > 0) pieces.push(section);
    this.#eightBitHeader = (top !== undefined && !isAscii(top)) ||
      (changed === undefined && !isAscii(section));
    // Without it the first lines of the body would belong to the header section.
    if (by !== "end") pieces.push(EMPTY_LINE);
    if (!header.signed && (by === "other line" || section.length === 0)) this.#blindLines = new BlindLines();
    this.#pushBody(rest, pieces);
  }

  #endBlindLines(text: Uint8Array, pieces: Uint8Array[]): void {
    if (this.#blindLines?.removed) {
      this.#header = { ...this.#header, repairs: [...this.#header.repairs, BLIND_REMOVED] };
    }
    this.#blindLines = undefined;
    this.#pushBody(text, pieces);
  }

  #pushBody(chunk: Uint8Array, pieces: Uint8Array[]): void {
    if (chunk.length === 0) return;
    if (this.#blindLines !== undefined) {
      const text = this.#blindLines.push(chunk);
      return text && this.#endBlindLines(text, pieces);
    }
    if (!this.#eightBitBody) this.#eightBitBody = !isAscii(chunk);
    if (!this.#longLines) this.#watchLines(chunk);
    this.#watcher?.push(chunk);
    pieces.push(chunk);
  }

  /** Looks for a line that is too long: searching for an LF within the next 999 octets. */
  #watchLines(chunk: Uint8Array): void {
    let start = -this.#lineLength;
    // A line has CR and LF after its text.
    for (let limit = start + MAX_LINE + 1; limit < chunk.length; limit = start + MAX_LINE + 1) {
      const lf = chunk.lastIndexOf(LF, limit);
      if (lf < start || lf < 0) {
        this.#longLines = true;
        return;
      }
      start = lf + 1;
    }
    const last = chunk.lastIndexOf(LF);
    if (last >= 0 && last >= start) start = last + 1;
    this.#lineLength = chunk.length - start;
  }
}
