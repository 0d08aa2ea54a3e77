/**
 * Repairs the header section of a submitted message (RFC 6409 §8), before it is signed:
 * Bcc is removed, missing fields are added, bare addresses are completed, and text that only servers with SMTPUTF8
 * take is encoded. Everything else stays unchanged, byte for byte.
 *
 * @module
 */
import { AddressLexer } from "./address_lexer.ts";
import { completeAddresses } from "./address_list.ts";
import { BLIND_FIELDS } from "./blind_lines.ts";
import { encodeFields } from "./encode_fields.ts";
import { isAscii } from "./encoded_word.ts";
import { foldLines, MAX_LINE } from "./fold_lines.ts";
import { type HeaderField, headerFields, HeaderSection, shortName } from "./header_section.ts";
import { MAX_FIELDS, MAX_REPAIRED_SECTION } from "./header_field.ts";

/** What the log says where a Bcc field was taken out. */
export const BLIND_REMOVED = "Bcc removed";

/** What the repair needs to know. */
export interface SubmittedHeaderOptions {
  /** Completes bare addresses. */
  readonly qualifyDomain: string;
  /** Whether the client asked for SMTPUTF8: then non-ASCII text is intended. */
  readonly smtputf8: boolean;
  /** The value of From where there is none; one character an octet. */
  readonly author: () => string;
  /** The value of Date where there is none. */
  readonly date: () => string;
  /** The value of Message-ID where there is none. */
  readonly messageId: () => string;
}

/** A header section as it goes out. */
export interface SubmittedHeader {
  /** The fields. */
  readonly section: HeaderSection;
  /** The same as text, one character an octet, each field with its CRLF; `undefined` where nothing has changed. */
  readonly changed: string | undefined;
  /** Fields to stand above it, each with its CRLF. */
  readonly added: string;
  /** Whether the message is signed by someone, so that what a signature may cover stays as it is. */
  readonly signed: boolean;
  /** What was repaired, for the log. */
  readonly repairs: readonly string[];
  /** What should have been repaired and was not, with the reason. */
  readonly left: readonly string[];
}

/** Octets of fields that are searched for bare addresses, of authors and of others: 8,000 addresses take as much. */
const MAX_COMPLETED = 256 * 1024;
const AUTHORS = new Set(["from", "sender"]);
/** The most repairs of one message that are logged. */
const MAX_WORDS = 10;

const ADDRESSES = new Set([
  ...["from", "sender", "reply-to", "to", "cc"],
  ...["resent-from", "resent-sender", "resent-to", "resent-cc"],
]);
const SIGNATURES = new Set(["dkim-signature", "arc-message-signature", "domainkey-signature"]);
const REPLACED = new Set(["date", "message-id"]);

/**
 * Repairs a header section.
 * @param bytes the fields, lines ending in CRLF; the last one may lack its end
 */
export function repairHeader(bytes: Uint8Array, options: SubmittedHeaderOptions): SubmittedHeader {
  const came = headerFields(bytes);
  const signed = came.some(({ name }) => SIGNATURES.has(name));
  const repairs = new Set<string>();
  const left = new Set<string>();
  const kept = came.filter((field) => {
    // Blind-copy recipients are never disclosed, even in a signed message.
    if (BLIND_FIELDS.has(field.name)) return !repairs.add(BLIND_REMOVED);
    if (signed || !isBlank(field)) return true;
    return !repairs.add(`empty ${field.name} removed`);
  });
  const added = missingFields(kept, options);
  const fields = signed ? kept : edit(kept, { options, repairs, left });
  if (signed) noteSigned(kept, { smtputf8: options.smtputf8, left });
  const section = new HeaderSection();
  for (const { name, text } of [...added, ...fields]) section.add({ name, text });
  const changed = fields.length !== came.length || fields.some((field, index) => field !== came[index]);
  return {
    section,
    changed: changed ? textOf(fields) : undefined,
    added: textOf(added),
    signed,
    repairs: [...repairs].slice(0, MAX_WORDS),
    left: [...left].slice(0, MAX_WORDS),
  };
}

function textOf(fields: readonly HeaderField[]): string {
  return fields.map(({ text }) => `${text}\r\n`).join("");
}

function octets(fields: readonly HeaderField[]): number {
  return fields.reduce((sum, { text }) => sum + text.length + 2, 0);
}

/** Whether a field that needs a value has none: `Date:`, `Message-ID: <>`, `To: (nobody)`. */
function isBlank({ name, text }: HeaderField): boolean {
  if (!REPLACED.has(name) && !ADDRESSES.has(name)) return false;
  const lexer = new AddressLexer(text.slice(text.indexOf(":") + 1));
  for (;;) {
    const token = lexer.next();
    if (token === "end") return true;
    if (token !== "comment" && token !== "<" && token !== ">") return false;
  }
}

function missingFields(
  fields: readonly HeaderField[],
  { author, date, messageId }: SubmittedHeaderOptions,
): HeaderField[] {
  const names = new Set(fields.map(({ name }) => name));
  const field = (name: string, value: string) => ({ name: name.toLowerCase(), text: `${name}: ${value}` });
  return [
    ...(names.has("date") ? [] : [field("Date", date())]),
    ...(names.has("message-id") ? [] : [field("Message-ID", messageId())]),
    ...(names.has("from") ? [] : [field("From", author())]),
  ];
}

interface Notes {
  readonly repairs: Set<string>;
  readonly left: Set<string>;
}

/** Rewrites the values of fields. */
function edit(
  fields: readonly HeaderField[],
  { options: { qualifyDomain, smtputf8 }, repairs, left }: Notes & {
    readonly options: SubmittedHeaderOptions;
  },
): readonly HeaderField[] {
  if (fields.length > MAX_FIELDS) {
    left.add(`there are more than ${MAX_FIELDS} fields`);
    return fields;
  }
  const notes: Notes = { repairs: new Set(), left: new Set() };
  let edited = complete(fields, { domain: qualifyDomain, left: notes.left });
  if (!smtputf8) edited = encodeFields(edited, notes);
  edited = foldLines(edited, notes);
  if (octets(edited) > MAX_REPAIRED_SECTION) {
    left.add(TOO_LONG);
    return fields;
  }
  for (const repair of notes.repairs) repairs.add(repair);
  for (const reason of notes.left) left.add(reason);
  return edited;
}

const TOO_LONG = "repaired, the header section would be too long";

/** Completes bare addresses, as far as the section does not get too long. */
function complete(
  fields: readonly HeaderField[],
  { domain, left }: { readonly domain: string; readonly left: Set<string> },
): HeaderField[] {
  let room = MAX_REPAIRED_SECTION - octets(fields);
  const searched = { authors: 0, others: 0 };
  return fields.map((field) => {
    if (!ADDRESSES.has(field.name)) return field;
    // However many recipients are named, the author is completed.
    const kind = AUTHORS.has(field.name) ? "authors" : "others";
    searched[kind] += field.text.length;
    if (searched[kind] > MAX_COMPLETED) {
      left.add(`there are more than ${MAX_COMPLETED} octets of address fields`);
      return field;
    }
    const colon = field.text.indexOf(":") + 1;
    const value = field.text.slice(colon);
    if (mostAddresses(value) * (domain.length + 1) > room) {
      left.add(TOO_LONG);
      return field;
    }
    const completed = completeAddresses(value, domain);
    if (completed === undefined) return field;
    room -= completed.length - value.length;
    return { name: field.name, text: field.text.slice(0, colon) + completed };
  });
}

/** The most addresses of a value. */
function mostAddresses(value: string): number {
  let count = 1;
  for (let at = 0; at < value.length; at++) {
    const code = value.charCodeAt(at);
    if (code === 0x2c || code === 0x3a || code === 0x3b) count++;
  }
  return count;
}

function noteSigned(
  fields: readonly HeaderField[],
  { smtputf8, left }: { readonly smtputf8: boolean; readonly left: Set<string> },
): void {
  for (const field of fields) {
    const { text } = field;
    const name = shortName(field);
    if (!smtputf8 && !isAscii(text)) {
      left.add(`${name} has text that is not ASCII, and the message is signed`);
    }
    if (text.length > MAX_LINE && text.split("\r\n").some((line) => line.length > MAX_LINE)) {
      left.add(`${name} has a line of more than ${MAX_LINE} octets, and the message is signed`);
    }
  }
}
