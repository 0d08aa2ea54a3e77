/**
 * Text in header fields that is not ASCII, encoded: words (RFC 2047) and parameters (RFC 2231). Without it a message
 * goes only to servers with SMTPUTF8 (RFC 6531).
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { AddressLexer } from "./address_lexer.ts";
import {
  charsetOf,
  encodePhrase,
  encodeUnstructured,
  encodeWords,
  type ForeignText,
  isAscii,
  isEncodedWord,
} from "./encoded_word.ts";
import { unfold } from "./header_field.ts";
import { normalizeDomain } from "../net/domain_name.ts";
import { fieldValue, type HeaderField, shortName } from "./header_section.ts";
import { parseParameters } from "./parameters.ts";

/** Fields whose value is a list of addresses, or one. */
const ADDRESSES =
  /^(?:(?:resent-)?(?:from|sender|reply-to|to|cc)|return-receipt-to|disposition-notification-to|errors-to|mail-followup-to|mail-reply-to)$/;
const PARAMETERS = /^(?:content-type|content-disposition)$/;
/** Fields whose grammar has no place for encoded words; fields not listed anywhere here are text. */
const STRUCTURED =
  /^(?:received|return-path|delivered-to|date|resent-date|message-id|resent-message-id|in-reply-to|references|mime-version|content-(?:transfer-encoding|id|location|base|language|md5)|list-[!-9;-~]*|arc-[!-9;-~]*|authentication-results|dkim-signature|domainkey-signature|received-spf|autocrypt|face|x-face)$/;
/** Octets of all fields that are encoded; encoded words cost more than their octets. */
const MAX_ENCODED = 64 * 1024;
/** Fields that are encoded; each costs more than its octets. */
const MAX_FIELDS = 1000;
/** Characters of an encoded parameter; a longer one would need parts (RFC 2231 §3). */
const MAX_PARAMETER = 900;

/**
 * Encodes what is not ASCII.
 * @param repairs called with each name that was encoded
 * @param left called with each name in which something is left
 */
export function encodeFields(
  fields: readonly HeaderField[],
  { repairs, left }: { readonly repairs: Set<string>; readonly left: Set<string> },
): HeaderField[] {
  let declared: string | undefined | null = null;
  let room = MAX_ENCODED;
  let count = 0;
  return fields.map((field) => {
    if (isAscii(field.text)) return field;
    room -= field.text.length;
    if (room < 0 || ++count > MAX_FIELDS) {
      left.add(
        room < 0
          ? `there are more than ${MAX_ENCODED} octets of fields that are not ASCII`
          : `there are more than ${MAX_FIELDS} fields that are not ASCII`,
      );
      return field;
    }
    if (declared === null) declared = declaredCharset(fields);
    const encoded = encodeField(field, charsetOf(field.text, declared));
    if (!isAscii(encoded)) left.add(`${shortName(field)} has text that is not ASCII and cannot be encoded`);
    if (encoded === field.text) return field;
    repairs.add(`${shortName(field)} encoded`);
    return { name: field.name, text: encoded };
  });
}

function encodeField(field: HeaderField, charset: string): string {
  const value = fieldValue(field);
  const label = field.text.slice(0, field.text.length - value.length);
  if (field.name === "" || !isAscii(label) || STRUCTURED.test(field.name)) return field.text;
  if (ADDRESSES.test(field.name)) return label + encodeAddresses(value, { charset, label });
  if (PARAMETERS.test(field.name)) return label + encodeParameters(value, charset);
  return label + encodeUnstructured(value, { charset, label });
}

/** What Content-Type says of the text. */
function declaredCharset(fields: readonly HeaderField[]): string | undefined {
  const type = fields.find(({ name }) => name === "content-type");
  return type && parseParameters(fieldValue(type))?.parameters.get("charset")?.value;
}

/** A part of a value, and the text that it holds. */
interface Foreign {
  readonly start: number;
  readonly end: number;
  readonly text: string;
  readonly kind: "name" | "comment" | "domain";
}

/**
 * Encodes the names and comments of an address list, the names of groups, and domains as A-labels; local-parts stay.
 */
function encodeAddresses(
  value: string,
  { charset, label }: { readonly charset: string; readonly label: string },
): string {
  const parts: string[] = [];
  let column = label.length;
  let done = 0;
  const add = (text: string) => {
    parts.push(text);
    const lf = text.lastIndexOf("\n");
    column = lf < 0 ? column + text.length : text.length - lf - 1;
  };
  for (const { start, end, text, kind } of foreignParts(value)) {
    const domain = kind === "domain" ? asciiDomain({ text, charset }) : undefined;
    if (kind === "domain" && domain === undefined) continue;
    add(value.slice(done, start));
    add(
      domain ??
        (kind === "comment"
          ? `(${encodeWords({ text, charset }, column + 1)})`
          : encodePhrase({ text, charset }, column)),
    );
    done = end;
  }
  return parts.join("") + value.slice(done);
}

/** A domain as A-labels; `undefined` where it is none, or its characters are not known. */
function asciiDomain({ text, charset }: ForeignText): string | undefined {
  return charset === "utf-8" ? normalizeDomain(Buffer.from(text, "latin1").toString()) : undefined;
}

/** The names, comments and domains of an address list that are not ASCII, in order. */
function foreignParts(value: string): Foreign[] {
  const lexer = new AddressLexer(value);
  const found: Foreign[] = [];
  /** The words so far that may be a name, and how many parts had been found before it. */
  let name: { start: number; end: number; words: string[]; at: number } | undefined;
  /** A comment stands amid the name, and would be lost with it. */
  let parted = false;
  let inBrackets = false;
  /** Whether a domain is due, after a local-part that needs no SMTPUTF8. */
  let behindAt = false;
  let localPart: string | undefined;
  for (;;) {
    const token = lexer.next();
    const { start, end } = lexer;
    const text = value.slice(start, end);
    const isDomain = token === "word" && behindAt;
    if (token !== "comment") {
      behindAt = token === "@" && localPart !== undefined && isAscii(localPart);
      localPart = token === "word" || token === "quoted" ? text : undefined;
    }
    if (isDomain && !isAscii(text)) {
      found.push({ start, end, text, kind: "domain" });
    } else if (token === "comment") {
      if (lexer.closed && !isAscii(text)) found.push({ start, end, text: plainText(text), kind: "comment" });
    } else if (inBrackets) {
      inBrackets = token !== ">" && token !== "end";
    } else if (token === "word" || (token === "quoted" && lexer.closed)) {
      name ??= { start, end, words: [], at: found.length };
      if (found.length > name.at || (name.words.length > 0 && hasComment(value, name.end, start))) {
        parted = true;
      }
      name.end = end;
      name.words.push(token === "word" ? text : plainText(text));
    } else {
      if (name !== undefined && (token === "<" || token === ":") && !parted) {
        const { start, end, words, at } = name;
        const phrase = words.join(" ");
        // Encoded twice, an encoded word would be shown in its encoded form.
        if (!isAscii(phrase) && !words.some(isEncodedWord)) {
          found.splice(at, 0, { start, end, text: phrase, kind: "name" });
        }
      }
      name = undefined;
      parted = false;
      inBrackets = token === "<";
    }
    if (token === "end") return found;
  }
}

/** What is in quotes or parentheses, without them. */
function plainText(text: string): string {
  return unfold(text.slice(1, -1)).replaceAll(/\\([\s\S])/g, "$1");
}

/** Whether there is more than white space between two words. */
function hasComment(value: string, start: number, end: number): boolean {
  return value.slice(start, end).trim() !== "";
}

/** Encodes parameters such as the name of a file (RFC 2231 §4). */
function encodeParameters(value: string, charset: string): string {
  const parsed = parseParameters(value);
  if (parsed === undefined || charset === "unknown-8bit") return value;
  let out = "";
  let done = 0;
  for (const { name, value: text, start, end } of parsed.parameters.values()) {
    if (isAscii(text) || name.endsWith("*")) continue;
    const encoded = Buffer.from(text, "latin1").reduce(
      (all, byte) => all + percent(byte),
      `${name}*=${charset}''`,
    );
    if (encoded.length > MAX_PARAMETER) continue;
    out += value.slice(done, start) + (encoded.length > 60 ? "\r\n " : "") + encoded;
    done = end;
  }
  return out + value.slice(done);
}

function percent(byte: number): string {
  const character = String.fromCharCode(byte);
  return /[A-Za-z0-9._-]/.test(character)
    ? character
    : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
}
