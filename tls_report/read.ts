/**
 * Reads a report from another operator: as JSON, compressed, or as the mail that carries it (RFC 8460 §5).
 *
 * @module
 */
import { AttachmentError, attachmentsOf, unpacked } from "../message/attachments.ts";

/** A report, as far as it is valid. */
export interface ReadReport {
  readonly organization: string;
  readonly contact: string;
  readonly id: string;
  readonly from: string;
  readonly to: string;
  /** At most 1,000, with 10,000 details in all. */
  readonly policies: readonly ReadPolicy[];
  /** Policies and details that are only counted. */
  readonly more: number;
}

/** What it says of one policy. */
export interface ReadPolicy {
  readonly type: string;
  readonly domain: string;
  readonly successes: number;
  readonly failures: number;
  readonly details: readonly ReadDetail[];
}

/** Sessions that failed for one reason. */
export interface ReadDetail {
  readonly type: string;
  readonly host: string;
  readonly address: string;
  readonly sender: string;
  readonly count: number;
  readonly reason: string;
}

/** The input is not a report; the message says why. */
export class ReportError extends Error {
  override readonly name = "ReportError";
}

/** Policies that are kept, and details of all of them: a text of `0,0,0` has millions. */
const MAX_POLICIES = 1_000;
const MAX_DETAILS = 10_000;
/** Octets of a report, unpacked. */
const MAX_REPORT = 32 * 1024 * 1024;

/** The types of the part with the report (RFC 8460 §6.4 and §6.5). */
const TYPES = ["application/tlsrpt+gzip", "application/tlsrpt+json"];

/**
 * Reads a report from the octets of a file.
 * @param options `most`: octets of the report, unpacked
 * @throws {ReportError}
 */
export function readReport(file: Uint8Array, { most = MAX_REPORT } = {}): ReadReport {
  const text = new TextDecoder().decode(contentOf(file, most));
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new ReportError("no JSON in it");
  }
  const report = record(json);
  const range = record(report["date-range"]);
  const all = report["policies"];
  if (!Array.isArray(all)) throw new ReportError("a report has policies, and there are none");
  const room = { details: MAX_DETAILS, leftOut: Math.max(0, all.length - MAX_POLICIES) };
  const policies = all.slice(0, MAX_POLICIES).map((policy) => readPolicy(policy, room));
  return {
    organization: textOf(report["organization-name"]),
    contact: textOf(report["contact-info"]),
    id: textOf(report["report-id"]),
    from: textOf(range["start-datetime"]),
    to: textOf(range["end-datetime"]),
    policies,
    more: room.leftOut,
  };
}

function readPolicy(value: unknown, room: { details: number; leftOut: number }): ReadPolicy {
  const { policy, summary, "failure-details": list } = record(value);
  const all: unknown[] = Array.isArray(list) ? list : [];
  const details = all.slice(0, room.details);
  room.details -= details.length;
  room.leftOut += all.length - details.length;
  const { "policy-type": type, "policy-domain": domain } = record(policy);
  const counts = record(summary);
  return {
    type: textOf(type),
    domain: textOf(domain),
    successes: count(counts["total-successful-session-count"]),
    failures: count(counts["total-failure-session-count"]),
    details: details.map((one) => {
      const detail = record(one);
      return {
        type: textOf(detail["result-type"]),
        host: textOf(detail["receiving-mx-hostname"]),
        address: textOf(detail["receiving-ip"]),
        sender: textOf(detail["sending-mta-ip"]),
        count: count(detail["failed-session-count"]),
        reason: textOf(detail["failure-reason-code"]),
      };
    }),
  };
}

/** The report, unpacked. */
function contentOf(file: Uint8Array, most: number): Uint8Array {
  try {
    const content = unpacked(file, { most });
    if (content !== file || isJson(file)) return content;
    const [part] = attachmentsOf(file, (type) => TYPES.includes(type));
    if (part === undefined) {
      throw new ReportError("neither a report nor a mail with one (application/tlsrpt+gzip)");
    }
    return unpacked(part.content, { most });
  } catch (error) {
    if (error instanceof AttachmentError) throw new ReportError(error.message, { cause: error });
    throw error;
  }
}

function isJson(file: Uint8Array): boolean {
  return new TextDecoder().decode(file.subarray(0, 100)).trimStart().startsWith("{");
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? value as Record<string, unknown> : {};
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function count(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0 ? Math.floor(value) : 0;
}
