/**
 * What doctor found, for people.
 *
 * @module
 */
import type { Finding, Outcome } from "../doctor/finding.ts";
import { count, printable } from "./terminal.ts";

/** How many there are of each kind that is not well. */
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

const LABELS: Readonly<Record<Outcome, string>> = {
  ok: "ok",
  warning: "WARNING",
  failure: "FAILURE",
  untested: "cannot be tested from here",
};

/** The findings as text, one a paragraph; what is from the network cannot move the cursor. */
export function describeFindings(findings: readonly Finding[]): string {
  const lines = findings.flatMap(({ id, subject, outcome, what, next, dialogue = [] }) => [
    `${LABELS[outcome]}: ${id.split(".")[0]} ${printable(subject)}: ${printable(what)}`,
    ...(next === undefined ? [] : [`    → ${printable(next)}`]),
    ...dialogue.map((line) => `    | ${printable(line)}`),
  ]);
  const { failures, warnings, untested } = summarize(findings);
  const verdict = [
    failures + warnings === 0 ? "All that could be tested is well" : count(failures, "failure"),
    ...(failures + warnings === 0 ? [] : [count(warnings, "warning")]),
    ...(untested === 0 ? [] : [`${untested} cannot be tested from here`]),
  ].join(", ");
  return [...lines, "", verdict, ""].join("\n");
}
