/**
 * Records as `Deno.resolveDns` and dns-packet give them, read into those of the resolver; at most 100 of an answer.
 *
 * @module
 */
import { canonicalName } from "./name.ts";
import type { MxRecord, TlsaRecord } from "./resolver.ts";

// A zone may have more; the rest is not needed.
const MAX_RECORDS = 100;

/** MX records, best first; a host that cannot be one has the name `""`. */
export function readMx(records: readonly unknown[]): MxRecord[] {
  const found: MxRecord[] = [];
  for (const record of records) {
    const { preference = 0, exchange } = record as { preference?: number; exchange?: unknown };
    if (typeof exchange !== "string") continue;
    found.push({ preference, exchange: exchange === "." ? "." : canonicalName(exchange) ?? "" });
  }
  return found.sort((a, b) => a.preference - b.preference).slice(0, MAX_RECORDS);
}

/** Records that are already text: addresses. */
export function readText(records: readonly unknown[]): string[] {
  return records.filter((record) => typeof record === "string").slice(0, MAX_RECORDS);
}

/** Names, those that can be asked for. */
export function readNames(records: readonly unknown[]): string[] {
  return readText(records).flatMap((name) => canonicalName(name) ?? []);
}

/** TXT records, the strings of each joined. */
export function readTxt(records: readonly unknown[]): string[] {
  const decoder = new TextDecoder();
  return records.slice(0, MAX_RECORDS).flatMap((record) => {
    const strings = Array.isArray(record) ? record : [record];
    return strings.every((part) => part instanceof Uint8Array || typeof part === "string")
      ? strings.map((part) => typeof part === "string" ? part : decoder.decode(part)).join("")
      : [];
  });
}

/** TLSA records. */
export function readTlsa(records: readonly unknown[]): TlsaRecord[] {
  return records.slice(0, MAX_RECORDS).flatMap((record) => {
    const { usage, selector, matchingType, certificate } = record as Record<string, unknown>;
    return typeof usage === "number" && typeof selector === "number" && typeof matchingType === "number" &&
        certificate instanceof Uint8Array
      ? [{ usage, selector, matchingType, data: new Uint8Array(certificate) }]
      : [];
  });
}

/**
 * Whether the names in a record are as DNS has them: the platform turns A-labels into U-labels, and may escape others.
 */
export function isPlain(record: unknown): boolean {
  if (typeof record === "string") return /^[a-z0-9._:-]*$/i.test(record);
  // Strings of a TXT record.
  if (Array.isArray(record)) return true;
  const { exchange } = record as { exchange?: unknown };
  return typeof exchange === "string" && (exchange === "." || /^[a-z0-9._-]*$/i.test(exchange));
}
