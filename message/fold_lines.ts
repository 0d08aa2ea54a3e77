/**
 * Lines of header fields that are longer than a line may be (RFC 5322 §2.1.1), folded.
 *
 * @module
 */
import { type HeaderField, shortName } from "./header_section.ts";

/** Octets of a line, without its CRLF. */
export const MAX_LINE = 998;
/** What a line should have at most. */
const WIDTH = 78;

/**
 * Folds lines of more than 998 octets where they have white space, which changes nothing of what they say.
 * @param repairs told of each name with such a line
 * @param left told of each line that has no such place
 */
export function foldLines(
  fields: readonly HeaderField[],
  { repairs, left }: { readonly repairs: Set<string>; readonly left: Set<string> },
): HeaderField[] {
  return fields.map((field) => {
    if (field.text.length <= MAX_LINE) return field;
    const lines = field.text.split("\r\n");
    if (lines.every(({ length }) => length <= MAX_LINE)) return field;
    const folded = lines.map((line) => line.length <= MAX_LINE ? line : fold(line)).join("\r\n");
    if (folded.split("\r\n").some(({ length }) => length > MAX_LINE)) {
      left.add(
        `${shortName(field)} has a line of more than ${MAX_LINE} octets without white space to fold it at`,
      );
    }
    if (folded === field.text) return field;
    repairs.add(`${shortName(field)} folded`);
    return { name: field.name, text: folded };
  });
}

/** Breaks a line before white space; no part is white space alone. */
function fold(line: string): string {
  // Words stand at even places, white space between them.
  const parts = line.split(/([ \t]+)/);
  const lines: string[] = [];
  let current = parts[0] ?? "";
  for (let at = 1; at < parts.length; at += 2) {
    const word = parts[at + 1] ?? "";
    const piece = (parts[at] ?? "") + word;
    const length = current.length + piece.length;
    // A name alone on its line is legal, and confuses some readers.
    const mayBreak = word !== "" && current !== "" &&
      (!current.endsWith(":") || (length > MAX_LINE && piece.length <= MAX_LINE));
    if (length > WIDTH && mayBreak) {
      lines.push(current);
      current = piece;
    } else current += piece;
  }
  return [...lines, current].join("\r\n");
}
