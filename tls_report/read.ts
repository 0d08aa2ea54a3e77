/**
 * Reads a report from another operator: as JSON, compressed, or as the mail that carries it (RFC 8460 §5).
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { gunzipSync } from "node:zlib";

/** A report, as far as it is valid. */
export interface ReadReport {
  readonly organization: string;
  readonly contact: string;
  readonly id: string;
  readonly from: string;
  readonly to: string;
  readonly policies: readonly ReadPolicy[];
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

/** Octets of a report, unpacked. */
const MAX_REPORT = 32 * 1024 * 1024;

/**
 * Reads a report from the octets of a file.
 * @throws {ReportError}
 */
export function readReport(file: Uint8Array): ReadReport {
  const packed = isGzip(file) ? file : isJson(file) ? undefined : attachment(file);
  const text = new TextDecoder().decode(
    packed === undefined ? file : isGzip(packed) ? unpack(packed) : packed,
  );
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new ReportError("no JSON in it");
  }
  const report = record(json);
  const range = record(report["date-range"]);
  if (!Array.isArray(report["policies"])) throw new ReportError("a report has policies, and there are none");
  return {
    organization: textOf(report["organization-name"]),
    contact: textOf(report["contact-info"]),
    id: textOf(report["report-id"]),
    from: textOf(range["start-datetime"]),
    to: textOf(range["end-datetime"]),
    policies: report["policies"].map(readPolicy),
  };
}

function readPolicy(value: unknown): ReadPolicy {
  const { policy, summary, "failure-details": details } = record(value);
  const { "policy-type": type, "policy-domain": domain } = record(policy);
  const counts = record(summary);
  return {
    type: textOf(type),
    domain: textOf(domain),
    successes: count(counts["total-successful-session-count"]),
    failures: count(counts["total-failure-session-count"]),
    details: (Array.isArray(details) ? details : []).map((one) => {
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

function isGzip([first, second]: Uint8Array): boolean {
  return first === 0x1f && second === 0x8b;
}

function isJson(file: Uint8Array): boolean {
  return new TextDecoder().decode(file.subarray(0, 100)).trimStart().startsWith("{");
}

function unpack(packed: Uint8Array): Uint8Array {
  try {
    return gunzipSync(packed, { maxOutputLength: MAX_REPORT });
  } catch {
    throw new ReportError("it cannot be unpacked, or is too long");
  }
}

/** The part of a mail that is the report. */
function attachment(file: Uint8Array): Uint8Array {
  const lines = Buffer.from(file).toString("latin1").replaceAll("\r\n", "\n").split("\n");
  const type = lines.findIndex((line) =>
    /^content-type:[ \t]*application\/tlsrpt\+(?:gzip|json)/i.test(line)
  );
  const blank = lines.indexOf("", type);
  if (type === -1 || blank === -1) {
    throw new ReportError("neither a report nor a mail with one (application/tlsrpt+gzip)");
  }
  // The fields of the part are before and after its Content-Type.
  const fields = lines.slice(lines.lastIndexOf("", type) + 1, blank);
  const end = lines.findIndex((line, at) => at > blank && line.startsWith("--"));
  const body = lines.slice(blank + 1, end === -1 ? undefined : end).join("\n");
  return fields.some((line) => /^content-transfer-encoding:[ \t]*base64/i.test(line))
    ? Buffer.from(body, "base64")
    : Buffer.from(body, "latin1");
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
