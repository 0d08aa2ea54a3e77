/**
 * Lines and replies of a dialogue as the log has them.
 *
 * @module
 */
import type { Line } from "./line_reader.ts";
import { type Reply, reply } from "./reply.ts";

/** A line for the log, without the password that a client may send unasked. */
export function describeLine(line: Line): string {
  if (!("text" in line)) return `(${line.kind})`;
  const [, head] = /^(\s*AUTH\s)/i.exec(line.text) ?? [];
  if (head === undefined) return line.text;
  // Base64 in the place of the mechanism has letters of both cases, as no name of a mechanism has (RFC 4422 §3.1).
  const [, mechanism = ""] =
    /^((?:[A-Z0-9_-]{1,20}|[a-z0-9_-]{1,20})(?:\s|$))/.exec(line.text.slice(head.length)) ?? [];
  const rest = line.text.length - head.length - mechanism.length;
  return `${head}${mechanism}${rest > 0 ? "…" : ""}`;
}

/** The text of the reply to a line that is not a command line. */
export const UNREADABLE = {
  "bare-lf": reply(500, "5.5.2", "Lines must end with CRLF (nc -C)"),
  "too-long": reply(500, "5.5.2", "Line too long"),
  "unreadable": reply(500, "5.5.2", "The line has a control character, or is not UTF-8"),
} as const;

/** A reply in one line, for the log. */
export function oneLine(reply: Reply): string {
  return `${reply.code} ${reply.enhanced === undefined ? "" : `${reply.enhanced} `}${reply.lines.join(" ")}`;
}
