/**
 * Counters of the checks' results.
 *
 * @module
 */
import { counters } from "../base/counters.ts";
import type { FilterOutcome } from "./filter.ts";
import type { Findings, Judgement } from "./judgement.ts";

const results = counters("mailapp_checks_total", {
  help: "What the checks of incoming messages found, in the words of RFC 8601",
  labels: ["check", "result"],
  maxSeries: 200,
});
const judgements = counters("mailapp_checked_messages_total", {
  help: "What the checks made of incoming messages",
  labels: ["judgement"],
});
const filters = counters("mailapp_filter_outcomes_total", {
  help: "What filters made of incoming messages",
  labels: ["filter", "outcome"],
});

/** Counts what was found about a message, and its outcome. */
export function countChecks(
  { spf, dkim, arc, dmarc, iprev, listings }: Findings,
  { action, junk }: Pick<Judgement, "action" | "junk"> | {
    readonly action: "greylist";
    readonly junk?: never;
  },
): void {
  if (spf !== undefined) results.with("spf", spf.result).add();
  if (dkim !== undefined) {
    const best = dkim.some(({ result }) => result === "pass") ? "pass" : dkim[0]?.result ?? "none";
    results.with("dkim", best).add();
  }
  if (arc !== undefined) results.with("arc", arc.result).add();
  if (dmarc !== undefined) results.with("dmarc", dmarc.result).add();
  results.with("iprev", iprev.result).add();
  for (const { list } of listings) results.with("dns_list", list.zone).add();
  judgements.with(junk === true ? "junk" : action).add();
}

/** Counts the outcome of a filter. */
export function countFilter(filter: string, outcome: FilterOutcome): void {
  filters.with(filter, "failure" in outcome ? "failed" : outcome.opinion.action).add();
}
