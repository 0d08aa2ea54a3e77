/**
 * A message as a local program writes it, made ready to be sent: envelope from the header section, Bcc out, From in.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { parseAddressList } from "./address_list.ts";

/** How to read the message. */
export interface SubmissionOptions {
  /** Whether To, Cc and Bcc name recipients. */
  readonly fromHeader: boolean;
  /** Stands in From where there is none; may be a bare local-part. */
  readonly author: string;
  /** The author's name, for the same. */
  readonly fullName?: string;
}

/** The message, read. */
export interface Submission {
  /** From the header section; each once. */
  readonly recipients: readonly string[];
  /** The message to send; lines end as they did. */
  readonly message: Uint8Array;
  /** Whether the header section has a byte above 127. */
  readonly eightBitHeader: boolean;
}

const LF = 10;
const CR = 13;
const COLON = 58;

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** Reads a message whose lines end in LF or CRLF. */
export function readSubmission(
  input: Uint8Array,
  { fromHeader, author, fullName }: SubmissionOptions,
): Submission {
  const { fields, body } = splitHeader(input);
  const resent = fields.some(({ name }) => name === "resent-to" || name === "resent-from");
  const sources = resent ? ["resent-to", "resent-cc", "resent-bcc"] : ["to", "cc", "bcc"];
  const recipients = fromHeader
    ? fields.filter(({ name }) => sources.includes(name)).flatMap(({ value }) => parseAddressList(value))
    : [];
  // Who got a blind copy is nobody else's business.
  const kept = fields.filter(({ name }) => name !== "bcc" && name !== "resent-bcc");
  const from = kept.some(({ name }) => name === "from")
    ? []
    : [encoder.encode(`From: ${fullName === undefined ? author : `${phrase(fullName)} <${author}>`}\r\n`)];
  const header = Buffer.concat([...from, ...kept.map(({ bytes }) => bytes)]);
  return {
    recipients: [...new Set(recipients)],
    message: Buffer.concat([header, encoder.encode("\r\n"), body]),
    eightBitHeader: header.some((byte) => byte > 127),
  };
}

interface Field {
  /** Lower case. */
  readonly name: string;
  /** Unfolded. */
  readonly value: string;
  /** With its line ends. */
  readonly bytes: Uint8Array;
}

/** Where no header section begins, all is body; so is what follows a line that belongs to no field. */
function splitHeader(input: Uint8Array): { fields: Field[]; body: Uint8Array } {
  const fields: Field[] = [];
  let at = skipMboxLine(input);
  while (at < input.length) {
    const firstEnd = lineEnd(input, at);
    if (isEmptyLine(input, at, firstEnd)) return { fields, body: input.subarray(firstEnd) };
    const name = fieldName(input, at, firstEnd);
    if (name === undefined) break;
    let end = firstEnd;
    while (end < input.length && (input[end] === 32 || input[end] === 9)) end = lineEnd(input, end);
    const bytes = input.subarray(at, end);
    const text = decoder.decode(bytes);
    const value = text.slice(text.indexOf(":") + 1).replaceAll(/\r?\n/g, "");
    fields.push({ name, value, bytes: ended(bytes) });
    at = end;
  }
  return { fields, body: input.subarray(at) };
}

/** Some programs begin with the line that mbox files have before each message. */
function skipMboxLine(input: Uint8Array): number {
  const start = decoder.decode(input.subarray(0, 6));
  return start.startsWith("From ") || start.startsWith(">From ") ? lineEnd(input, 0) : 0;
}

function lineEnd(input: Uint8Array, start: number): number {
  const lf = input.indexOf(LF, start);
  return lf < 0 ? input.length : lf + 1;
}

function isEmptyLine(input: Uint8Array, start: number, end: number): boolean {
  return input[start] === LF || (input[start] === CR && end - start === 2);
}

function fieldName(input: Uint8Array, start: number, end: number): string | undefined {
  const colon = input.indexOf(COLON, start);
  if (colon < 0 || colon >= end || colon === start) return undefined;
  const name = decoder.decode(input.subarray(start, colon)).trimEnd();
  return /^[!-9;-~]+$/.test(name) ? name.toLowerCase() : undefined;
}

/** A field at the very end of the input may lack its line end. */
function ended(bytes: Uint8Array): Uint8Array {
  return bytes.at(-1) === LF ? bytes : Buffer.concat([bytes, encoder.encode("\r\n")]);
}

/** A name as a phrase (RFC 5322 §3.2.5), encoded (RFC 2047) where it is not ASCII. */
function phrase(name: string): string {
  // deno-lint-ignore no-control-regex
  const clean = name.replaceAll(/[\u0000-\u001f\u007f]+/g, " ").trim();
  if (/^[\x20-\x7e]*$/.test(clean)) return `"${clean.replaceAll(/["\\]/g, "\\$&")}"`;
  // An encoded word has at most 75 characters, and holds whole characters.
  const words: string[] = [];
  let word = "";
  for (const char of clean) {
    if (encoder.encode(word + char).length > 42) {
      words.push(word);
      word = "";
    }
    word += char;
  }
  return [...words, word].map((word) => `=?UTF-8?B?${encoder.encode(word).toBase64()}?=`).join("\r\n ");
}
