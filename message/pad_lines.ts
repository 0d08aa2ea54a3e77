/**
 * Pads header fields with insignificant white space.
 *
 * @module
 */
import { Buffer } from "node:buffer";

/** Octets of a line, without its end (RFC 5322 §2.1.1). */
const MAX_LINE = 998;

/**
 * The fields with spaces at the ends of their lines, from the last line upward, to a length of `octets` as
 * UTF-8; `undefined` where they are longer already, or their lines would get too long.
 * @param fields lines that end with LF or CRLF
 */
export function padLines(fields: string, octets: number): string | undefined {
  let missing = octets - Buffer.byteLength(fields);
  if (missing < 0) return undefined;
  if (missing === 0) return fields;
  const lines = fields.split(/(?<=\n)/);
  for (let at = lines.length - 1; at >= 0 && missing > 0; at--) {
    const [, text = "", end = ""] = /^([^\r\n]*)(\r?\n)?$/.exec(lines[at] ?? "") ?? [];
    const spaces = Math.min(missing, Math.max(MAX_LINE - Buffer.byteLength(text), 0));
    lines[at] = `${text}${" ".repeat(spaces)}${end}`;
    missing -= spaces;
  }
  return missing > 0 ? undefined : lines.join("");
}
