/**
 * Bytes of a message as text, whatever their encoding.
 *
 * @module
 */
import { Buffer } from "node:buffer";

/** One character a byte. (A TextDecoder's latin1 is windows-1252, in which bytes from 0x80 to 0x9F are others.) */
export function latin1(bytes: Uint8Array): string {
  // The buffer costs as much as the text of so many bytes.
  if (bytes.length > 12) return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}
