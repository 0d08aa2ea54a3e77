/**
 * The message to postmaster about problems.
 *
 * @module
 */
import { formatDate } from "../base/date.ts";
import { maskUnprintable, wrap } from "../message/wrap.ts";
import type { Problem } from "./problem_watch.ts";

/** What the message needs. */
export interface ProblemMailOptions {
  /** The server: `serve-in` or `serve-out`. */
  readonly server: string;
  /** The machine's name. */
  readonly hostname: string;
  /** The recipient. */
  readonly to: string;
  /** For Message-ID; letters and digits. */
  readonly id: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

const encoder = new TextEncoder();

/** The message, lines ending in CRLF. */
export function problemMail(problems: readonly Problem[], options: ProblemMailOptions): Uint8Array {
  const { server, hostname, to, id, now } = options;
  const kinds = [...new Set(problems.map(({ kind }) => kind))].join(", ");
  const lines = [
    `Date: ${formatDate(now)}`,
    `From: mailapp ${server} <postmaster@${to.slice(to.lastIndexOf("@") + 1)}>`,
    `To: <${to}>`,
    `Subject: ${hostname}: ${server} needs attention (${kinds})`,
    `Message-ID: <problem.${id}@${hostname}>`,
    // Auto-responders should not answer this (RFC 3834).
    "Auto-Submitted: auto-generated",
    "MIME-Version: 1.0",
    "Content-Type: text/plain; charset=utf-8",
    "Content-Transfer-Encoding: 8bit",
    "",
    ...problems.flatMap(({ what, next }) => [
      ...paragraph(`${what}.`, { firstIndent: "* ", indent: "  " }),
      ...paragraph(`What to do: ${next}`, { firstIndent: "  ", indent: "  " }),
      "",
    ]),
    ...paragraph(
      `This is repeated once a day while it lasts. mailapp doctor on ${hostname} checks everything.`,
    ),
  ];
  return encoder.encode(lines.map((line) => `${line}\r\n`).join(""));
}

/** Wraps text that may quote other servers. */
function paragraph(text: string, { firstIndent = "", indent = "" } = {}): string[] {
  return wrap(maskUnprintable(text), { firstIndent, indent, longest: 400 });
}
