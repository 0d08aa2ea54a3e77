/**
 * Lines of header fields that are longer than a line may be (RFC 5322 §2.1.1), folded.
 *
 * @module
 */
import { type HeaderField, shortName } from "./header_section.ts";

/** Octets of a line, without its CRLF. */
export const MAX_LINE = 998;
/** The recommended maximum of a line. */
const WIDTH = 78;

/**
 * Folds lines of more than 998 octets at white space, which does not change their meaning.
 * @param repairs called with each name with such a line
 * @param left called with each line that has no such place
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

/** Breaks a line before white space; no part is only white space. */
function fold(line: string): string {
  const lines: string[] = [];
  /** Where the line that is being filled begins. */
  let start = 0;
  for (let at = wordEnd(line, 0); at < line.length;) {
    const word = spaceEnd(line, at);
    const end = wordEnd(line, word);
    // A name alone on its line is legal, and confuses some readers.
    const mayBreak = end > word && at > start &&
      (line[at - 1] !== ":" || (end - start > MAX_LINE && end - at <= MAX_LINE));
    if (end - start > WIDTH && mayBreak) {
      lines.push(line.slice(start, at));
      start = at;
    }
    at = end;
  }
  return [...lines, line.slice(start)].join("\r\n");
}

/** Where the word ends that begins there. */
function wordEnd(line: string, start: number): number {
  let at = start;
  while (at < line.length && !isSpace(line.charCodeAt(at))) at++;
  return at;
}

/** Where the white space ends that begins there. */
function spaceEnd(line: string, start: number): number {
  let at = start;
  while (isSpace(line.charCodeAt(at))) at++;
  return at;
}

function isSpace(code: number): boolean {
  return code === 32 || code === 9;
}
