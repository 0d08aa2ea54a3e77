/**
 * Filters the header section of a message as it streams by: counts Received fields (RFC 5321 §6.3), removes fields
 * that a delivery does not want, and repairs a beginning by which text would be read as fields or fields as text.
 * Memory is bounded whatever the message holds.
 *
 * @module
 */
import { concat } from "../base/concat.ts";
import { latin1 } from "../base/latin1.ts";
import { isField, nameEnd, skipSpace, unfold } from "./header_field.ts";
import { isMboxLine, markLength } from "./split_message.ts";

/** A field as far as it was read; valid only during the call. */
export interface SeenField {
  /** In lower case. */
  readonly name: string;
  /** Whether the field was read to its end. */
  readonly whole: boolean;
  /** The value, unfolded, as far as it was read. */
  value(): string;
}

/** Decides whether a field is removed. */
export type UnwantedField = (field: SeenField) => boolean;

const LF = 10;
const CR = 13;
const SPACE = 32;
const TAB = 9;
const COLON = 58;

// How much of a field is read before the decision; a longer field is decided by its beginning.
const MAX_BEGINNING = 2048;
const NOTHING = new Uint8Array(0);
const EMPTY_LINE = new Uint8Array([CR, LF]);
const RECEIVED = "received";
const MESSAGE_ID = "message-id";
/** Characters of a Message-ID; a line has no more (RFC 5322 §2.1.1). */
const MAX_MESSAGE_ID = 998;

/**
 * Filters one message. Bytes go in, cut anywhere; pieces come out that are valid as long as the chunk is.
 *
 * The caller puts fields on top of the output. So that they stay separate from it, a message that
 * does not begin with a field gets the empty line that it lacks. A byte order mark at the top is removed, and so are
 * lines of an mbox file, if a field follows them.
 */
export class HeaderFilter implements SeenField {
  /** Received fields so far. */
  receivedCount = 0;
  /** Fields so far, and lines that are not fields. */
  fieldCount = 0;
  /** The first Message-ID, as it stands there; absent until there is one. */
  messageId: string | undefined;
  /** Octets of the header section so far. */
  octets = 0;
  /** The octets of them that were passed on. */
  keptOctets = 0;
  readonly #unwanted: UnwantedField | undefined;
  #inHeader = true;
  /** Whether nothing has been looked at yet. */
  #first = true;
  /** Whether no field has been kept yet. */
  #atStart = true;
  /** Lines of an mbox file at the top, until it is known what follows them. */
  #mboxLines: Uint8Array = NOTHING;
  /** What happens to the field that the last chunk ended in; `undecided` fields are held. */
  #field: "none" | "undecided" | "kept" | "dropped" = "none";
  /** The beginning of an undecided field, as far as it stood in earlier chunks. */
  #held: Uint8Array<ArrayBuffer> | undefined;
  #heldLength = 0;
  /** Whether the next byte begins a line. */
  #lineStart = true;
  /** Whether a line of the body stands where the empty line should. */
  #textFollows = false;
  #beginning: Uint8Array = NOTHING;
  #nameEnd = 0;

  /** Without `unwanted` it removes nothing. */
  constructor(unwanted?: UnwantedField) {
    this.#unwanted = unwanted;
  }

  get name(): string {
    return latin1(this.#beginning, 0, this.#nameEnd).toLowerCase();
  }

  get whole(): boolean {
    return this.#beginning.length < MAX_BEGINNING;
  }

  value(): string {
    const beginning = this.#beginning;
    const colon = skipSpace(beginning, this.#nameEnd, beginning.length);
    return unfold(latin1(beginning, Math.min(colon + 1, beginning.length)));
  }

  /** Takes bytes and adds to `pieces` what goes on: parts of the chunk, as large as they can be. */
  push(chunk: Uint8Array, pieces: Uint8Array[]): void {
    const length = chunk.length;
    // The bytes from `from` up to the field at `fieldStart` are output.
    let from = 0;
    let fieldStart = 0;
    let at = 0;
    while (at < length && this.#inHeader) {
      if (this.#lineStart) {
        const byte = chunk[at];
        if (this.#field === "none" || (byte !== SPACE && byte !== TAB)) {
          from = this.#endField(chunk, { from, fieldStart, end: at }, pieces);
          fieldStart = at;
          if (!this.#inHeader) break;
          if (byte === CR || byte === LF) {
            this.#endHeader(pieces);
            break;
          }
          this.#field = "undecided";
        }
      }
      const lf = chunk.indexOf(LF, at);
      this.#lineStart = lf >= 0;
      at = lf < 0 ? length : lf + 1;
      if (this.#field === "undecided" && this.#heldLength + at - fieldStart >= MAX_BEGINNING) {
        from = this.#endField(chunk, { from, fieldStart, end: at }, pieces);
        fieldStart = at;
      } else if (this.#field === "dropped") {
        from = at;
      }
    }
    this.octets += at;
    if (this.#field === "undecided") {
      this.#keep(chunk.subarray(from, fieldStart), pieces);
      this.#hold(chunk.subarray(fieldStart));
    } else if (length > from) {
      if (!this.#textFollows) this.keptOctets += Math.max(at - from, 0);
      pieces.push(chunk.subarray(from));
    }
  }

  /** Outputs what is still held when the message ends within its header section. */
  finish(pieces: Uint8Array[]): void {
    this.#endField(NOTHING, { from: 0, fieldStart: 0, end: 0 }, pieces);
    if (this.#inHeader) this.#endHeader(pieces);
  }

  /** Decides on a field by what is known of it, if that is still open; returns where output continues. */
  #endField(
    chunk: Uint8Array,
    { from, fieldStart, end }: { from: number; fieldStart: number; end: number },
    pieces: Uint8Array[],
  ): number {
    if (this.#field !== "undecided") return from;
    this.fieldCount++;
    const before = this.#heldLength;
    const part = chunk.subarray(fieldStart, Math.min(end, fieldStart + MAX_BEGINNING - before));
    let field = part;
    if (before > 0) field = this.#hold(part);
    this.#heldLength = 0;
    const skipped = this.#atStart ? this.#begin(field, pieces) : 0;
    if (skipped === undefined || (this.#inHeader && !this.#isWanted(field.subarray(skipped)))) {
      this.#field = "dropped";
      this.#keep(chunk.subarray(from, fieldStart), pieces);
      return end;
    }
    this.#field = "kept";
    this.#atStart = false;
    // A copy: the buffer is reused for the next field before the pieces are written.
    if (before > skipped) this.#keep(field.slice(skipped, before), pieces);
    return skipped > before ? from + skipped - before : from;
  }

  /** Outputs a part of the header section. */
  #keep(part: Uint8Array, pieces: Uint8Array[]): void {
    if (part.length === 0) return;
    pieces.push(part);
    if (!this.#textFollows) this.keptOctets += part.length;
  }

  /**
   * Examines what no kept field precedes: a field goes on, how many octets after its beginning is returned; lines
   * of an mbox file are put aside (`undefined`); anything else begins the body.
   */
  #begin(field: Uint8Array, pieces: Uint8Array[]): number | undefined {
    const mark = this.#first ? markLength(field) : 0;
    this.#first = false;
    const lf = field.indexOf(LF);
    const line = lf < 0 ? field.length : lf + 1;
    if (isField(field, mark, line) || this.#hidesColon(field)) {
      this.#mboxLines = NOTHING;
      return mark;
    }
    const isLine = this.whole && line === field.length && lf >= 0;
    if (isLine && isMboxLine(field, mark) && this.#mboxLines.length + line <= MAX_BEGINNING) {
      this.#mboxLines = concat(this.#mboxLines, field);
      return undefined;
    }
    this.#endHeader(pieces, true);
    return 0;
  }

  /** The header section is over; `textFollows`: where a line of the body begins, without the empty line before it. */
  #endHeader(pieces: Uint8Array[], textFollows = this.#mboxLines.length > 0): void {
    this.#inHeader = false;
    this.#field = "none";
    this.#textFollows = textFollows;
    if (!textFollows) return;
    pieces.push(EMPTY_LINE);
    if (this.#mboxLines.length > 0) pieces.push(this.#mboxLines);
    this.#mboxLines = NOTHING;
  }

  #hold(bytes: Uint8Array): Uint8Array {
    this.#held ??= new Uint8Array(MAX_BEGINNING);
    this.#held.set(bytes, this.#heldLength);
    this.#heldLength += bytes.length;
    return this.#held.subarray(0, this.#heldLength);
  }

  #isWanted(field: Uint8Array): boolean {
    const name = nameEnd(field, 0, field.length);
    const colon = skipSpace(field, name, field.length);
    // A line that is not a field ends the header section for some readers and not for others: only the empty line does
    // here, so that no forged field can follow such a line.
    if (name === 0 || (field[colon] !== COLON && !this.#hidesColon(field, name))) return true;
    this.#beginning = field;
    this.#nameEnd = name;
    if (name === RECEIVED.length && this.name === RECEIVED) {
      this.receivedCount++;
      return true;
    }
    if (name === MESSAGE_ID.length && this.messageId === undefined && this.name === MESSAGE_ID) {
      this.messageId = this.value().trim().slice(0, MAX_MESSAGE_ID);
    }
    return this.#unwanted === undefined || !this.#unwanted(this);
  }

  /** Whether there is only white space after the name as far as was looked, so that a colon may still come. */
  #hidesColon(field: Uint8Array, name = nameEnd(field, 0, field.length)): boolean {
    if (name === 0 || name === MAX_BEGINNING || field.length < MAX_BEGINNING) return false;
    return skipSpace(field, name, MAX_BEGINNING) === MAX_BEGINNING;
  }
}
