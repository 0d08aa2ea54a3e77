/**
 * Bytes of a message as text, whatever their encoding.
 *
 * @module
 */
import { Buffer } from "node:buffer";

const encoder = new TextEncoder();

/**
 * One character a byte, from `start` up to `end`. (A TextDecoder's latin1 is windows-1252, in which bytes from 0x80 to
 * 0x9F are others.)
 */
export function latin1(bytes: Uint8Array, start = 0, end = bytes.length): string {
  const length = end - start;
  // Making a Buffer costs as much as converting this many bytes.
  if (length > 12) return Buffer.from(bytes.buffer, bytes.byteOffset + start, length).toString("latin1");
  let text = "";
  for (let at = start; at < end; at++) text += String.fromCharCode(bytes[at] as number);
  return text;
}

/** The bytes of a text with one character a byte. */
export function latin1Bytes(text: string): Uint8Array<ArrayBuffer> {
  // Of ASCII, which nearly all such texts are, this makes the same bytes in a tenth of the time.
  const bytes = encoder.encode(text);
  return bytes.length === text.length ? bytes : Uint8Array.from(Buffer.from(text, "latin1"));
}
