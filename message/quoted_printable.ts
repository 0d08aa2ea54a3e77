/**
 * Quoted-printable (RFC 2045 §6.7), which turns any bytes into short lines of ASCII.
 *
 * @module
 */

const CR = 13;
const LF = 10;
const SPACE = 32;
const TAB = 9;
const EQUALS = 61;
const MAX_LINE = 76;
const HEX = "0123456789ABCDEF";

/** Encodes text whose lines end in CRLF; a CR or LF that stands alone is encoded as a byte. */
export function encodeQuotedPrintable(bytes: Uint8Array): string {
  let out = "";
  let column = 0;
  const put = (token: string) => {
    // One column is kept for the "=" of a soft line break.
    if (column + token.length >= MAX_LINE) {
      out += "=\r\n";
      column = 0;
    }
    out += token;
    column += token.length;
  };
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i] ?? 0;
    if (byte === CR && bytes[i + 1] === LF) {
      out += "\r\n";
      column = 0;
      i++;
    } else if (byte === SPACE || byte === TAB) {
      // White space at the end of a line gets lost on the way.
      const last = i + 1 === bytes.length || (bytes[i + 1] === CR && bytes[i + 2] === LF);
      put(last ? escape(byte) : String.fromCharCode(byte));
    } else if (byte > SPACE && byte < 127 && byte !== EQUALS) put(String.fromCharCode(byte));
    else put(escape(byte));
  }
  return out;
}

function escape(byte: number): string {
  return `=${HEX[byte >> 4]}${HEX[byte & 15]}`;
}
