/**
 * What a signature signs of a header section: fields found by name from below, in canonical form (RFC 6376 §3.4.1,
 * §3.4.2, §3.7, §5.4.2).
 *
 * @module
 */
import { latin1Bytes } from "../base/latin1.ts";
import type { HeaderField, HeaderSection } from "../message/header_section.ts";
import type { Canonicalization } from "./body_hashes.ts";
import { relaxField } from "./header.ts";

/** A header field in canonical form, without the CRLF at its end. */
export function canonicalField(field: HeaderField, canonicalization: Canonicalization): string {
  return canonicalization === "simple" ? field.text : relaxField(field) ?? "";
}

/** What is signed. */
export interface SignedContent {
  /** `h=`, in lower case. */
  readonly names: readonly string[];
  /** The first half of `c=`. */
  readonly canonicalization: Canonicalization;
  /** The field that has the signature; it is not a field of its own message (RFC 6376 §3.7). */
  readonly signature: HeaderField;
}

/** A signature, or all of a message, sign more than is to be hashed. */
export class SignedTooMuchError extends Error {
  /** Not collected unless it is asked for. */
  constructor() {
    super("too much of the header section is signed");
    this.name = "SignedTooMuchError";
  }
}

/** What may be signed. */
export interface SignedFieldsOptions {
  /** Octets of the fields that one signature signs. */
  readonly maxInput?: number;
  /** Octets of those that all of a message sign. */
  readonly maxOctets?: number;
}

/** The fields of a header section as signatures sign them. */
export class SignedFields {
  readonly #section: HeaderSection;
  /** Relaxed forms made before: several signatures sign the same fields. */
  readonly #relaxed = new Map<HeaderField, string>();
  readonly #maxInput: number;
  /** Octets that may be given out yet. */
  #left: number;

  /** Reads nothing yet; there are no bounds but those of the options. */
  constructor(
    section: HeaderSection,
    { maxInput = Infinity, maxOctets = Infinity }: SignedFieldsOptions = {},
  ) {
    this.#section = section;
    this.#maxInput = maxInput;
    this.#left = maxOctets;
  }

  /**
   * The bytes that are signed: for each name the next field from below, nothing where there are no more.
   * @throws {SignedTooMuchError}
   */
  input({ names, canonicalization, signature }: SignedContent): Uint8Array<ArrayBuffer> {
    const next = new Map<string, number>();
    const signed: HeaderField[] = [];
    for (const name of names) {
      const fields = this.#section.named(name);
      let at = next.get(name) ?? fields.length - 1;
      if (fields[at] === signature) at--;
      const field = fields[at];
      if (field === undefined) continue;
      next.set(name, at - 1);
      signed.push(field);
    }
    return this.#bytes(signed, { canonicalization, signature });
  }

  /**
   * The bytes that a seal signs (RFC 8617 §5.1.1): these fields, and the one that has the seal.
   * @throws {SignedTooMuchError}
   */
  sealInput(fields: readonly HeaderField[], seal: HeaderField): Uint8Array<ArrayBuffer> {
    return this.#bytes(fields, { canonicalization: "relaxed", signature: seal });
  }

  #bytes(
    fields: readonly HeaderField[],
    { canonicalization, signature }: Omit<SignedContent, "names">,
  ): Uint8Array<ArrayBuffer> {
    // Counted as they came, which costs nothing, and is no less than their canonical form.
    const octets = fields.reduce((octets, { text }) => octets + text.length, signature.text.length);
    if (octets > this.#maxInput || octets > this.#left) throw new SignedTooMuchError();
    this.#left -= octets;
    const lines = fields.map((field) => this.#canonical(field, canonicalization));
    lines.push(canonicalField({ ...signature, text: withoutSignature(signature.text) }, canonicalization));
    return latin1Bytes(lines.join("\r\n"));
  }

  #canonical(field: HeaderField, canonicalization: Canonicalization): string {
    if (canonicalization === "simple") return field.text;
    let text = this.#relaxed.get(field);
    if (text === undefined) this.#relaxed.set(field, text = canonicalField(field, canonicalization));
    return text;
  }
}

/** The text of a signature field with an empty `b=`, white space around its value included (RFC 6376 §3.7). */
export function withoutSignature(text: string): string {
  const start = text.indexOf(":") + 1;
  const value = text.slice(start).replace(/((?:^|;)[ \t\r\n]*b[ \t\r\n]*=)[^;]*/, "$1");
  return text.slice(0, start) + value;
}
