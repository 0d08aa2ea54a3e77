/**
 * What doctor found, as text.
 *
 * @module
 */
import { type Finding, type FindingOutcome, summarize } from "../../doctor/finding.ts";
import { count, printable } from "./terminal.ts";

/** What each outcome is called. */
export const LABELS: Readonly<Record<FindingOutcome, string>> = {
  ok: "ok",
  warning: "WARNING",
  failure: "FAILURE",
  untested: "cannot be tested from here",
};

/** The order in which findings are shown. */
const ORDER: readonly FindingOutcome[] = ["failure", "warning", "untested", "ok"];

/** The findings, what is worst first. */
export function byOutcome(findings: readonly Finding[]): Finding[] {
  return ORDER.flatMap((outcome) => findings.filter((finding) => finding.outcome === outcome));
}

/** Lines of findings; text from the network cannot move the cursor. */
export function findingLines(findings: readonly Finding[]): string[] {
  return findings.flatMap(({ id, subject, outcome, what, next, dialogue = [] }) => [
    `${LABELS[outcome]}: ${id.split(".")[0]} ${printable(subject)}: ${printable(what)}`,
    ...(next === undefined ? [] : [`    → ${printable(next)}`]),
    ...dialogue.map((line) => `    | ${printable(line)}`),
  ]);
}

/** The findings as text, one per paragraph, what is worst first. What is well is only counted, unless `all`. */
export function describeFindings(findings: readonly Finding[], { all }: { readonly all: boolean }): string {
  const sorted = byOutcome(findings);
  const well = findings.filter(({ outcome }) => outcome === "ok").length;
  const lines = findingLines(all ? sorted : sorted.filter(({ outcome }) => outcome !== "ok"));
  const { failures, warnings, untested } = summarize(findings);
  const verdict = [
    failures + warnings === 0 ? "No problems found in what could be tested" : count(failures, "failure"),
    ...(failures + warnings === 0 ? [] : [count(warnings, "warning")]),
    ...(untested === 0 ? [] : [`${untested} cannot be tested from here`]),
  ].join(", ");
  const counted = all || well === 0 ? [] : [`${well} ok (--all shows ${well === 1 ? "it" : "them"})`];
  return [...lines, ...counted, "", verdict, ""].join("\n");
}
