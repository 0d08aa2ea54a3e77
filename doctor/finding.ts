/**
 * What a check found.
 *
 * @module
 */

/** `untested`: it cannot be told from here, or not now. */
export type Outcome = "ok" | "warning" | "failure" | "untested";

/** One thing that was looked at, and how it is. */
export interface Finding {
  /** What it is, for programs: `mx.missing`; never changes. The part before the dot names the check. */
  readonly id: string;
  /** The domain, address or file that it is about. */
  readonly subject: string;
  /** How it is. */
  readonly outcome: Outcome;
  /** What was seen, and why that is good or bad. */
  readonly what: string;
  /** What to do; on all that is a failure or a warning. */
  readonly next?: string;
  /** What was said, line by line, where that helps. */
  readonly dialogue?: readonly string[];
}

/** How many findings there are of each kind that is not well. */
export interface Summary {
  /** Mail is lost, refused or taken for junk because of them. */
  readonly failures: number;
  /** It works, but not for all or not for long. */
  readonly warnings: number;
  /** It cannot be told from here. */
  readonly untested: number;
}

/** Counts the findings. */
export function summarize(findings: readonly Finding[]): Summary {
  const of = (outcome: Outcome) => findings.filter((finding) => finding.outcome === outcome).length;
  return { failures: of("failure"), warnings: of("warning"), untested: of("untested") };
}

/** What a finding says. */
export interface Words {
  /** What was seen. */
  readonly what: string;
  /** What to do. */
  readonly next: string;
  /** What was said. */
  readonly dialogue?: readonly string[];
}

/** All is well. */
export function ok(id: string, subject: string, what: string): Finding {
  return { id, subject, outcome: "ok", what };
}

/** It works, but not for all or not for long. */
export function warning(id: string, subject: string, words: Words): Finding {
  return { id, subject, outcome: "warning", ...words };
}

/** Mail is lost, refused or taken for junk because of it. */
export function failure(id: string, subject: string, words: Words): Finding {
  return { id, subject, outcome: "failure", ...words };
}

/** It cannot be told; `next` says who can tell. */
export function untested(
  id: string,
  subject: string,
  words: Omit<Words, "next"> & { next?: string },
): Finding {
  return { id, subject, outcome: "untested", ...words };
}

/** DNS could not tell. */
export function unanswered(id: string, subject: string, reason: string): Finding {
  return untested(id, subject, { what: `DNS gave no answer: ${reason}` });
}
