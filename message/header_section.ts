/**
 * The header section of a message, field by field (RFC 5322 §2.2).
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { latin1 } from "../base/latin1.ts";
import { isField, nameEnd } from "./header_field.ts";

/** A header field as it came. */
export interface HeaderField {
  /** In lower case; `""` for a line that is not a field. */
  readonly name: string;
  /** Name, colon and value with its line breaks, without the last line end; one character a byte. */
  readonly text: string;
}

/** All fields of a message. */
export class HeaderSection {
  /** From the top. */
  readonly fields: HeaderField[] = [];
  readonly #byName = new Map<string, HeaderField[]>();

  /** Reads complete fields, as {@linkcode headerFields} does. */
  static of(section: Uint8Array | string): HeaderSection {
    const whole = new HeaderSection();
    for (const field of headerFields(section)) whole.add(field);
    return whole;
  }

  /** The names in lower case, each once. */
  get names(): string[] {
    return [...this.#byName.keys()];
  }

  /** Those of this name, in lower case, from the top. */
  named(name: string): readonly HeaderField[] {
    return this.#byName.get(name) ?? [];
  }

  /** Adds a field below the others. */
  add(field: HeaderField): void {
    this.fields.push(field);
    const alike = this.#byName.get(field.name);
    if (alike === undefined) this.#byName.set(field.name, [field]);
    else alike.push(field);
  }
}

const CR = 13;
const LF = 10;
const SPACE = 32;
const TAB = 9;

/**
 * The fields of a header section, from the top. Lines end in CRLF or LF. Reads each octet a bounded number of times.
 * @param section without the empty line that ends it; as a text, one character a byte
 */
export function headerFields(section: Uint8Array | string): HeaderField[] {
  const bytes = typeof section === "string" ? Buffer.from(section, "latin1") : section;
  const fields: HeaderField[] = [];
  for (let at = 0; at < bytes.length;) {
    const { end, next } = fieldEnd(bytes, at);
    if (end > at) fields.push(readField(bytes, at, end));
    at = next;
  }
  return fields;
}

/** One field with its continuations, without the final line end. */
export function readField(bytes: Uint8Array, start = 0, end = bytes.length): HeaderField {
  return { name: fieldName(bytes, start, end), text: latin1(bytes, start, end) };
}

/** The name of a field for the log. */
export function shortName({ name }: HeaderField): string {
  return name.length > 50 ? `${name.slice(0, 50)}…` : name;
}

/** The value after the colon, folding included. */
export function fieldValue({ text }: HeaderField): string {
  return text.slice(text.indexOf(":") + 1);
}

/** Where the field that begins at `start` ends, after its last continuation, and where the next one begins. */
function fieldEnd(bytes: Uint8Array, start: number): { readonly end: number; readonly next: number } {
  let next = start;
  do {
    const lf = bytes.indexOf(LF, next);
    if (lf < 0) return { end: bytes.length, next: bytes.length };
    next = lf + 1;
  } while (bytes[next] === SPACE || bytes[next] === TAB);
  return { end: bytes[next - 2] === CR && next - 2 >= start ? next - 2 : next - 1, next };
}

/** The colon must stand in the first line. */
function fieldName(bytes: Uint8Array, start: number, end: number): string {
  const lf = bytes.indexOf(LF, start);
  if (!isField(bytes, start, lf < 0 || lf > end ? end : lf)) return "";
  return latin1(bytes, start, nameEnd(bytes, start, end)).toLowerCase();
}
