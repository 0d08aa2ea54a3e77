/**
 * Command lines (RFC 5321 §4.1.1): a verb and what follows it.
 *
 * @module
 */

/** A command line, split. */
export interface Command {
  /** The verb in upper case; at most 32 characters are kept. */
  readonly verb: string;
  /** What follows the verb, without the spaces and tabs around it (§4.1.1.1 asks to tolerate trailing ones). */
  readonly argument: string;
}

/** Splits a line, given without CRLF. */
export function parseCommand(line: string): Command {
  let end = 0;
  while (end < line.length && !isBlank(line[end])) end++;
  return { verb: line.slice(0, Math.min(end, 32)).toUpperCase(), argument: trimBlanks(line, end) };
}

/** The text after `start` without spaces and tabs at either end: no other white space is any to SMTP. */
function trimBlanks(line: string, start: number): string {
  let end = line.length;
  while (end > start && isBlank(line[end - 1])) end--;
  while (start < end && isBlank(line[start])) start++;
  return line.slice(start, end);
}

function isBlank(character: string | undefined): boolean {
  return character === " " || character === "\t";
}
