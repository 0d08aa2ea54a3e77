/**
 * What a signature signs of a header section: fields found by name from below, in canonical form (RFC 6376 §3.4.1,
 * §3.4.2, §3.7, §5.4.2).
 *
 * @module
 */
import { Buffer } from "node:buffer";
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
  /** The field that has the signature; it is no field of its own message (RFC 6376 §3.7). */
  readonly signature: HeaderField;
}

/** The fields of a header section as signatures sign them. */
export class SignedFields {
  readonly #section: HeaderSection;
  /** Relaxed forms made before: several signatures sign the same fields. */
  readonly #relaxed = new Map<HeaderField, string>();

  /** Reads nothing yet. */
  constructor(section: HeaderSection) {
    this.#section = section;
  }

  /** The bytes that are signed: for each name the next field from below, nothing where there are no more. */
  input({ names, canonicalization, signature }: SignedContent): Buffer {
    const next = new Map<string, number>();
    const lines: string[] = [];
    for (const name of names) {
      const fields = this.#section.named(name);
      let at = next.get(name) ?? fields.length - 1;
      if (fields[at] === signature) at--;
      const field = fields[at];
      if (field === undefined) continue;
      next.set(name, at - 1);
      lines.push(this.#canonical(field, canonicalization));
    }
    lines.push(canonicalField({ ...signature, text: withoutSignature(signature.text) }, canonicalization));
    return Buffer.from(lines.join("\r\n"), "latin1");
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
