/**
 * The header section as DKIM signs it: which fields, in which order, and in relaxed form (RFC 6376 §3.4.2, §5.4).
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { fieldValue, type HeaderField, type HeaderSection } from "../message/header_section.ts";

/**
 * A field in relaxed form (RFC 6376 §3.4.2), without a CRLF at the end; `undefined` for what is not a field.
 * @param field name, colon and value, with or without the CRLF at the end; one character a byte
 */
export function relaxField({ name, text }: HeaderField): string | undefined {
  if (name === "") return undefined;
  return `${name}:${relax(fieldValue({ name, text }))}`;
}

const CR = 13;
const LF = 10;
const SPACE = 32;
const TAB = 9;

/** Where a value is written, a byte a character. */
let room = Buffer.alloc(4096);

/** What has to change in a value. */
const LOOSE = /[\t\r\n]| {2}|^ | $/;

/** A value on one line, each run of white space one space, none at either end. */
function relax(value: string): string {
  // Most values stand on one line after one space.
  const text = value.charCodeAt(0) === SPACE ? value.slice(1) : value;
  if (!LOOSE.test(text)) return text;
  if (room.length < value.length) room = Buffer.alloc(value.length);
  let used = 0;
  let space = false;
  for (let at = 0; at < value.length; at++) {
    const code = value.charCodeAt(at);
    // Only space and tab are white space here: a byte that is a no-break space in Latin-1 is part of a word.
    if (code === SPACE || code === TAB) {
      space = true;
    } else if (code === CR && value.charCodeAt(at + 1) === LF) {
      at++;
    } else {
      if (space && used > 0) room[used++] = SPACE;
      space = false;
      room[used++] = code;
    }
  }
  return room.toString("latin1", 0, used);
}

/** Signed once more than they are there, so that whoever sends the message on can add none (RFC 6376 §8.15). */
const OVERSIGNED = [
  ...["From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID", "In-Reply-To", "References"],
  // These decide how the body is read.
  ...[
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Content-Disposition",
    "Content-Description",
  ],
  ...["Content-ID", "Content-Language", "Content-Location", "Content-Base"],
  ...["Auto-Submitted"],
  // Buttons in mail programs. Gmail and Yahoo heed the first two only where they are signed (RFC 8058 §4).
  ...["List-Unsubscribe", "List-Unsubscribe-Post", "List-Id", "List-Help", "List-Subscribe", "List-Post"],
  ...["List-Owner", "List-Archive"],
];

/** Signed as often as they are there: whoever resends the message adds some, and so do large providers. */
const SIGNED_AS_IS = [
  ...["Resent-Date", "Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc", "Resent-Message-ID"],
  "Feedback-ID",
];

// Not signed: what is changed on the way (Received, Return-Path), and what no program shows.
const SIGNED = new Set([...OVERSIGNED, ...SIGNED_AS_IS].map((name) => name.toLowerCase()));

/** The names for `h=`, in order, for a message with these fields. */
export function signedNames(section: HeaderSection): string[] {
  const others = section.names.filter((name) => name.startsWith("content-") && !SIGNED.has(name));
  const times = (name: string, more: number) =>
    Array<string>(section.named(name.toLowerCase()).length + more).fill(name);
  return [
    ...[...OVERSIGNED, ...others].flatMap((name) => times(name, 1)),
    ...SIGNED_AS_IS.flatMap((name) => times(name, 0)),
  ];
}
