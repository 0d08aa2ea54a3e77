/**
 * The form of a notice (RFC 6522), for writing and for shortening one.
 *
 * @module
 */
import { encodeQuotedPrintable } from "../message/quoted_printable.ts";
import { isPlain } from "./returned_content.ts";

/** A part of a notice: header fields and content. */
export interface Part {
  /** Without their line ends. */
  readonly fields: readonly string[];
  /** As it is sent. */
  readonly body: Uint8Array;
}

/** Says in the part for people that the message is returned whole. */
export const WHOLE_BELOW = "It is attached below.";
/** Says in the part for people that the header section of the message is returned. */
export const HEADER_BELOW = "Its header section is attached below.";

const encoder = new TextEncoder();

/** The boundary of a notice. The id is drawn for this notice alone: it cannot stand in what is returned. */
export function boundaryOf(id: string): string {
  return `=_${id}`;
}

/** The parts with their boundaries, to be put after the preamble. */
export function multipart(parts: readonly Part[], boundary: string): Uint8Array[] {
  return [
    ...parts.flatMap(({ fields, body }) => [
      encoder.encode(`\r\n--${boundary}\r\n${fields.join("\r\n")}\r\n\r\n`),
      body,
    ]),
    encoder.encode(`\r\n--${boundary}--\r\n`),
  ];
}

/** Unchanged if it is short lines of ASCII, else in quoted-printable: the return path may be 7-bit. */
export function encodedPart(type: string, bytes: Uint8Array): Part {
  const plain = isPlain(bytes);
  return {
    fields: [`Content-Type: ${type}`, `Content-Transfer-Encoding: ${plain ? "7bit" : "quoted-printable"}`],
    body: plain ? bytes : encodeQuotedPrintable(bytes),
  };
}
