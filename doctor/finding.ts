/**
 * What a check found.
 *
 * @module
 */

/** `untested`: it cannot be tested from here, or not now. */
export type FindingOutcome = "ok" | "warning" | "failure" | "untested";

/** The result for one subject of a check. */
export interface Finding {
  /** The stable id, for programs, such as `mx.missing`. The part before the dot names the check. */
  readonly id: string;
  /** The domain, address or file that it is about. */
  readonly subject: string;
  /** The outcome. */
  readonly outcome: FindingOutcome;
  /** What was seen, and why that is good or bad. */
  readonly what: string;
  /** What to do; set on every failure and warning. */
  readonly next?: string;
  /** The dialogue, line by line, if it helps. */
  readonly dialogue?: readonly string[];
}

/** The number of findings of each outcome other than `ok`. */
export interface Summary {
  /** Mail is lost, refused or taken for junk because of them. */
  readonly failures: number;
  /** It works, but not for all or not for long. */
  readonly warnings: number;
  /** It cannot be tested from here. */
  readonly untested: number;
}

/** Counts the findings. */
export function summarize(findings: readonly Finding[]): Summary {
  const of = (outcome: FindingOutcome) => findings.filter((finding) => finding.outcome === outcome).length;
  return { failures: of("failure"), warnings: of("warning"), untested: of("untested") };
}

/** The texts of a finding. */
export interface Words {
  /** What was seen. */
  readonly what: string;
  /** What to do. */
  readonly next: string;
  /** The dialogue. */
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

/** It cannot be tested; `next` says how to find out. */
export function untested(
  id: string,
  subject: string,
  words: Omit<Words, "next"> & { next?: string },
): Finding {
  return { id, subject, outcome: "untested", ...words };
}

/** DNS gave no answer. */
export function unanswered(id: string, subject: string, reason: string): Finding {
  return untested(id, subject, { what: `DNS gave no answer: ${reason}` });
}
