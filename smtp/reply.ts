/**
 * Replies (RFC 5321 §4.2) and the one error that carries one.
 *
 * @module
 */
import type { LogFields } from "../base/log.ts";

/** An enhanced status code, `class.subject.detail` (RFC 3463). */
export type EnhancedStatusCode = `${2 | 4 | 5}.${number}.${number}`;

/** What a server says to one command. */
export interface Reply {
  /** The three-digit code, 200–599. */
  readonly code: number;
  /** Repeated on each line (RFC 2034); absent in the greeting, in 354 and in the 250 to EHLO, HELO. */
  readonly enhanced?: EnhancedStatusCode;
  /** At least one line of text, without CR, LF or other control bytes. */
  readonly lines: readonly string[];
}

/** Makes a reply; without an enhanced code pass `undefined`. */
export function reply(code: number, enhanced: EnhancedStatusCode | undefined, ...lines: string[]): Reply {
  return enhanced === undefined ? { code, lines } : { code, enhanced, lines };
}

// Replies echo what the peer sent; nothing of it may add a line or move a terminal's cursor.
// deno-lint-ignore no-control-regex
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g;

/** The reply as it goes over the wire: CRLF-terminated lines, control bytes replaced by `?`. */
export function formatReply(reply: Reply): string {
  const { code, enhanced, lines } = reply;
  const status = enhanced === undefined ? "" : `${enhanced} `;
  const last = lines.length - 1;
  let text = "";
  for (let i = 0; i <= last; i++) {
    text += `${code}${i === last ? " " : "-"}${status}${(lines[i] ?? "").replace(CONTROL, "?")}\r\n`;
  }
  return text;
}

/**
 * A failure that has a reply. What is shown to the peer is `reply`, what is logged is `cause`;
 * wire text never shows internals.
 */
export class SmtpError extends Error {
  /** What the peer is told. */
  readonly reply: Reply;
  /** What it was decided by, for the event about the refused command. */
  readonly log: LogFields | undefined;

  /**
   * The message is the reply in one line.
   * @param reply What the peer is told
   * @param options `cause`: what is logged as our fault; `log`: what it was decided by
   */
  constructor(reply: Reply, options?: ErrorOptions & { readonly log?: LogFields }) {
    super(`${reply.code} ${reply.enhanced ?? ""} ${reply.lines.join(" ")}`, options);
    this.name = "SmtpError";
    this.reply = reply;
    this.log = options?.log;
  }
}

/** An error as in the log; never what a peer is told. */
export function describeError(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}
