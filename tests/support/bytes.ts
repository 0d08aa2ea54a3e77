/**
 * Bytes as tests write them: one character a byte, whatever the byte.
 *
 * @module
 */

/** The bytes of a text, one a character; characters are below U+0100. */
export function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

/** The text of bytes, one character a byte. */
export function textOf(bytes: Uint8Array): string {
  let text = "";
  // In parts: the number of arguments of a call is limited.
  for (let at = 0; at < bytes.length; at += 4096) {
    text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  }
  return text;
}

/** Cuts into pieces of these sizes, over and over; together they are the whole. */
export function* cut(bytes: Uint8Array, sizes: readonly number[]): Generator<Uint8Array> {
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const size = Math.max(1, sizes[turn % sizes.length] ?? bytes.length);
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

export { FALSE_ENDS } from "../../selftest/cases/false_ends.ts";
