/**
 * A report about the TLS of a domain's servers (RFC 8460 §4.4), and the mail that carries it (§5.3).
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { gzipSync } from "node:zlib";
import { formatDate } from "../base/date.ts";
import type { DomainResults } from "./results.ts";

/** What a report contains besides the results. */
export interface ReportHead {
  /** The reporting organization. */
  readonly organization: string;
  /** A mail address. */
  readonly contact: string;
  /** Letters, digits and other characters valid in a Message-ID. */
  readonly id: string;
  /** The domain that it is about. */
  readonly domain: string;
  /** As `2026-11-30`, in UTC. */
  readonly day: string;
}

/** The report as JSON (RFC 8460 §4.4). */
export function reportJson(
  { organization, contact, id, domain, day }: ReportHead,
  { policies }: DomainResults,
) {
  return {
    "organization-name": organization,
    "date-range": { "start-datetime": `${day}T00:00:00Z`, "end-datetime": `${day}T23:59:59Z` },
    "contact-info": contact,
    "report-id": id,
    policies: policies.map(({ policy, successes, failures, details }) => ({
      policy: {
        "policy-type": policy.type,
        ...(policy.strings.length > 0 && { "policy-string": policy.strings }),
        "policy-domain": domain,
        ...(policy.mxHosts.length > 0 && { "mx-host": policy.mxHosts }),
      },
      summary: { "total-successful-session-count": successes, "total-failure-session-count": failures },
      ...(details.length > 0 && {
        "failure-details": details.map(({ type, host, address, sender, reason, count }) => ({
          "result-type": type,
          ...(host !== "" && { "receiving-mx-hostname": host }),
          ...(address !== "" && { "receiving-ip": address }),
          // Counts of an earlier version have none.
          ...(sender && { "sending-mta-ip": sender }),
          "failed-session-count": count,
          "failure-reason-code": reason,
        })),
      }),
    })),
  };
}

/** The report as it is sent. */
export function packReport(head: ReportHead, results: DomainResults): Uint8Array {
  return new Uint8Array(gzipSync(Buffer.from(JSON.stringify(reportJson(head, results)))));
}

/** What the mail needs. */
export interface ReportMail {
  readonly head: ReportHead;
  /** From {@linkcode packReport}. */
  readonly report: Uint8Array;
  /** The domain of From. */
  readonly submitter: string;
  readonly from: string;
  readonly to: string;
  /** The machine's name. */
  readonly hostname: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** The mail, lines ending in CRLF; all of it ASCII. */
export function reportMail({ head, report, submitter, from, to, hostname, now }: ReportMail): Uint8Array {
  const { domain, day, id } = head;
  const begin = Date.parse(`${day}T00:00:00Z`) / 1000;
  const file = `${submitter}!${domain}!${begin}!${begin + 86_399}!${id}.json.gz`;
  const boundary = `=_${id}`;
  const lines = [
    `Date: ${formatDate(now)}`,
    `From: <${from}>`,
    `To: <${to}>`,
    `Subject: Report Domain: ${domain}`,
    `\tSubmitter: ${submitter}`,
    `\tReport-ID: <${id}@${hostname}>`,
    `Message-ID: <${id}@${hostname}>`,
    `TLS-Report-Domain: ${domain}`,
    `TLS-Report-Submitter: ${submitter}`,
    // The report must not fail because of what it reports (RFC 8460 §3, RFC 8689 §5).
    "TLS-Required: No",
    "Auto-Submitted: auto-generated",
    "MIME-Version: 1.0",
    'Content-Type: multipart/report; report-type="tlsrpt";',
    `\tboundary="${boundary}"`,
    "",
    `--${boundary}`,
    "Content-Type: text/plain; charset=us-ascii",
    "",
    `This is a report of ${submitter} about TLS in mail to ${domain}`,
    `on ${day} (UTC), as RFC 8460 describes it.`,
    "",
    `--${boundary}`,
    "Content-Type: application/tlsrpt+gzip",
    "Content-Transfer-Encoding: base64",
    "Content-Disposition: attachment;",
    `\tfilename="${file}"`,
    "",
    ...Buffer.from(report).toString("base64").match(/[A-Za-z0-9+/=]{1,76}/g) ?? [],
    "",
    `--${boundary}--`,
    "",
  ];
  return new Uint8Array(Buffer.from(lines.join("\r\n"), "latin1"));
}
