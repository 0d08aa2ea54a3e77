/**
 * The header fields that a Maildir's copy has above the message.
 *
 * @module
 */
import { padLines } from "../message/pad_lines.ts";
import type { Header } from "../smtp/delivery.ts";
import type { Mailbox } from "./mailboxes.ts";

const encoder = new TextEncoder();

/** The fields on top of a message in one mailbox, in the form for the disk. */
export interface Head {
  /** With LF. */
  readonly bytes: Uint8Array;
  /** How many lines these are. */
  readonly lines: number;
}

/** Formats the fields above a message in one mailbox, Return-Path first. */
export function formatHead(prepend: readonly Header[], mailbox: Mailbox): Head;
/** The same, padded to `octets`; `undefined` where it is longer, or cannot be padded. */
export function formatHead(prepend: readonly Header[], mailbox: Mailbox, octets: number): Head | undefined;
export function formatHead(prepend: readonly Header[], mailbox: Mailbox, octets?: number): Head | undefined {
  const deliveredTo = { name: "Delivered-To", value: mailbox.address };
  const [first, ...others] = prepend;
  // Return-Path is the first of all fields (RFC 5321 §4.4).
  const fields = first?.name === "Return-Path" ? [first, deliveredTo, ...others] : [deliveredTo, ...prepend];
  let text = "";
  let lines = 0;
  for (const { name, value } of fields) {
    const folded = value.split("\r\n");
    text += `${name}: ${folded.join("\n")}\n`;
    lines += folded.length;
  }
  if (octets === undefined) return { bytes: encoder.encode(text), lines };
  const padded = padLines(text, octets);
  return padded === undefined ? undefined : { bytes: encoder.encode(padded), lines };
}
