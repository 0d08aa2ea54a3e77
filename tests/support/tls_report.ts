/**
 * A day's TLS report about a.test, for tests.
 *
 * @module
 */
import assert from "node:assert/strict";
import { type ReportHead, reportMail } from "../../tls_report/report.ts";
import { dayOf, type DomainResults, type Results } from "../../tls_report/results.ts";

/** Noon of the day. */
export const NOW = Date.UTC(2026, 10, 29, 12);

/** Its head. */
export const HEAD: ReportHead = {
  organization: "Client Inc.",
  contact: "postmaster@client.test",
  id: "r1",
  domain: "a.test",
  day: "2026-11-29",
};

/** What was counted about the domain. */
export function resultsOf(results: Results): DomainResults {
  const found = results.get(dayOf(NOW))?.get(HEAD.domain);
  assert.ok(found);
  return found;
}

/** The report as it is mailed. */
export function mailOf(report: Uint8Array): Uint8Array {
  return reportMail({
    head: HEAD,
    report,
    submitter: "client.test",
    from: HEAD.contact,
    to: "tls@a.test",
    hostname: "out.client.test",
    now: NOW,
  });
}
