/**
 * What the self-test's DNS says: records by name, so that a name with others than those asked for exists.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { FakeDns, FakeDnsReply } from "./dns_server.ts";
import { soa } from "./dns_server.ts";

/** The records of a name, by type; `fault` says what happens to every question about it instead. */
export interface ZoneEntry {
  /** IPv4 addresses. */
  readonly A?: readonly string[];
  /** Hosts, each with the preference 10; `.` is the null MX (RFC 7505). */
  readonly MX?: readonly string[];
  readonly TXT?: readonly string[];
  /** DNS cannot answer, says so to all questions, or keeps silent. */
  readonly fault?: "servfail" | "refused" | "silent";
}

const TYPES = ["A", "AAAA", "MX", "TXT", "TLSA", "CNAME", "PTR", "NS", "SOA"] as const;

/** The answers of these names, for {@linkcode FakeDns}. */
export function zoneOf(entries: Readonly<Record<string, ZoneEntry>>): FakeDns["zone"] {
  const zone: FakeDns["zone"] = {};
  for (const [name, entry] of Object.entries(entries)) {
    for (const type of TYPES) zone[`${name.toLowerCase()} ${type}`] = answer(name, type, entry);
  }
  return zone;
}

function answer(name: string, type: typeof TYPES[number], entry: ZoneEntry): FakeDnsReply | "silent" {
  if (entry.fault === "silent") return "silent";
  if (entry.fault !== undefined) return { rcode: entry.fault === "servfail" ? 2 : 5 };
  const data: readonly unknown[] = type === "A"
    ? entry.A ?? []
    : type === "MX"
    ? (entry.MX ?? []).map((exchange) => ({ preference: exchange === "." ? 0 : 10, exchange }))
    : type === "TXT"
    ? (entry.TXT ?? []).map((text) => (text.match(/.{1,255}/gs) ?? [""]).map((part) => Buffer.from(part)))
    : [];
  if (data.length === 0) return { authorities: [soa(name)] };
  return { answers: data.map((one) => ({ name, type, ttl: 60, data: one })) };
}
