/**
 * Lines and replies of a dialogue as the log has them.
 *
 * @module
 */
import type { Line } from "./line_reader.ts";
import { type Reply, reply } from "./reply.ts";

/** A line for the log, without the password that a client may send unasked. */
export function describeLine(line: Line): string {
  return "text" in line ? line.text.replace(/^(\s*AUTH\s+\S+\s).*$/is, "$1…") : `(${line.kind})`;
}

/** What is answered to a line that is no command line. */
export const UNREADABLE = {
  "bare-lf": reply(500, "5.5.2", "Lines must end with CRLF (nc -C)"),
  "too-long": reply(500, "5.5.2", "Line too long"),
  "unreadable": reply(500, "5.5.2", "The line has a control character, or is not UTF-8"),
} as const;

/** A reply in one line, for the log. */
export function oneLine(reply: Reply): string {
  return `${reply.code} ${reply.enhanced === undefined ? "" : `${reply.enhanced} `}${reply.lines.join(" ")}`;
}
