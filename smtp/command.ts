/**
 * Command lines (RFC 5321 §4.1.1): a verb and what follows it.
 *
 * @module
 */

/** A command line, taken apart. */
export interface Command {
  /** The verb in upper case; at most 32 characters are kept. */
  readonly verb: string;
  /** What follows the space behind the verb, trailing white space removed (§4.1.1.1 asks to tolerate it). */
  readonly argument: string;
}

/** Takes a line apart; the line has no CRLF. */
export function parseCommand(line: string): Command {
  const space = line.indexOf(" ");
  const verb = space < 0 ? line : line.slice(0, space);
  return {
    verb: verb.slice(0, 32).toUpperCase(),
    argument: space < 0 ? "" : line.slice(space + 1).trimEnd(),
  };
}
