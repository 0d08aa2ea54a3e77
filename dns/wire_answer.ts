/**
 * What a DNS message says in answer to one question (RFC 1035, RFC 2308); no I/O.
 *
 * @module
 */
import { Buffer } from "node:buffer";
// @ts-types="./dns_packet.d.ts"
import dnsPacket from "dns-packet";
import type { DecodedPacket, ResourceRecord } from "./dns_packet.d.ts";
import { canonicalName } from "./name.ts";
import { type Query, readNegative, type RecordType } from "./query_message.ts";

export type { Query, RecordType } from "./query_message.ts";

/** The outcome of a question; `ttl` in seconds. */
export type WireAnswer =
  /** Records of the type, at the end of the aliases; `data` as dns-packet decodes it. */
  | {
    readonly kind: "found";
    readonly records: readonly unknown[];
    readonly ttl: number;
    readonly authenticated: boolean;
    /** The name at the end of the aliases, if there are any. */
    readonly expanded?: string;
  }
  /** The name, or its alias, exists without such records, or an alias leads in a circle. */
  | { readonly kind: "none"; readonly ttl: number; readonly authenticated: boolean }
  /** NXDOMAIN. */
  | { readonly kind: "no-such-name"; readonly ttl: number; readonly authenticated: boolean }
  /** No server could tell. */
  | { readonly kind: "failed"; readonly reason: string };

const MAX_ALIASES = 16;
// Seconds, where the answer does not say.
const NEGATIVE_TTL = 60;

// A pointer to a pointer is of no use, and random data has no such chain.
const MAX_POINTER_CHAIN = 32;
// Where pointers can lead: 14 bits (RFC 1035 §4.1.4).
const POINTER_REACH = 16_384;

/**
 * Whether compression pointers lead to pointers over and over: a message of a thousand records that all begin at the end
 * of such a chain would take a tenth of a second to decode. One look at each octet.
 */
export function hasLongPointerChain(bytes: Uint8Array): boolean {
  const reach = Math.min(bytes.length - 1, POINTER_REACH);
  const depths = new Uint8Array(Math.max(reach, 0));
  for (let at = 0; at < reach; at++) {
    const high = bytes[at] ?? 0;
    if (high < 0xc0) continue;
    const target = (high & 0x3f) << 8 | (bytes[at + 1] ?? 0);
    if (target >= at) continue;
    const depth = (depths[target] ?? 0) + 1;
    if (depth > MAX_POINTER_CHAIN) return true;
    depths[at] = depth;
  }
  return false;
}

/**
 * The message in these bytes; `undefined` if it is no answer to this question with this id. An error may come without
 * the question: a server that cannot read the query has nothing else to say (RFC 6891 §7).
 */
export function decodeAnswer(bytes: Uint8Array, query: Query, id: number): DecodedPacket | undefined {
  return readNegative(bytes, query, id) ?? decodeWhole(bytes, query, id);
}

function decodeWhole(bytes: Uint8Array, { name, type }: Query, id: number): DecodedPacket | undefined {
  // Before anything is worked out from what may be forged.
  if (((bytes[0] ?? 0) << 8 | (bytes[1] ?? 0)) !== id || hasLongPointerChain(bytes)) return undefined;
  let packet: DecodedPacket;
  try {
    packet = dnsPacket.decode(Buffer.from(bytes));
  } catch {
    return undefined;
  }
  if (packet.type !== "response" || packet.opcode !== "QUERY") return undefined;
  const [question, ...more] = packet.questions;
  const fits = question === undefined
    ? packet.rcode !== "NOERROR" && packet.rcode !== "NXDOMAIN" && packet.answers.length === 0
    : more.length === 0 && question.type === type && question.class === "IN" &&
      sameName(question.name, name);
  return fits ? packet : undefined;
}

/** The answer's OPT record (RFC 6891 §6.1): the sign of a server that knows EDNS. */
function optOf({ additionals }: DecodedPacket): ResourceRecord | undefined {
  return additionals.find(({ type }) => type === "OPT");
}

/** Whether the same question without EDNS may fare better: from servers that do not know it, or not version 0. */
export function refusesEdns(packet: DecodedPacket): boolean {
  const opt = optOf(packet);
  if ((opt?.extendedRcode ?? 0) !== 0) return true;
  const { rcode } = packet;
  return rcode === "FORMERR" || rcode === "NOTIMP" || (rcode === "SERVFAIL" && opt === undefined);
}

/** Whether a name of a message is this canonical one; dns-packet writes none with a trailing dot. */
function sameName(name: string, canonical: string): boolean {
  return name.toLowerCase() === canonical;
}

/** What the message says, aliases followed. */
export function interpretAnswer(packet: DecodedPacket, { name, type }: Query): WireAnswer {
  const { rcode, flag_aa, flag_ra, flag_ad: authenticated, answers, authorities } = packet;
  const { end, circle, followed, endless, names } = followAliases(answers, name, type);
  // BIND calls it SERVFAIL, and shows the circle.
  if (circle && flag_aa) return { kind: "none", ttl: NEGATIVE_TTL, authenticated };
  const extended = optOf(packet)?.extendedRcode ?? 0;
  if (extended !== 0) return { kind: "failed", reason: extended === 1 ? "BADVERS" : "an unknown error" };
  if (rcode !== "NOERROR" && rcode !== "NXDOMAIN") return { kind: "failed", reason: rcode };
  const found = answers.filter((record) => record.type === type && sameName(record.name, end));
  if (found.length > 0) {
    const ttl = Math.min(...found.map((record) => record.ttl ?? 0));
    const records = found.map((record) => record.data);
    return { kind: "found", records, ttl, authenticated, ...(followed && { expanded: end }) };
  }
  const soa = authorities.find((record) => record.type === "SOA");
  const minimum = (soa?.data as { minimum?: unknown } | undefined)?.minimum;
  // RFC 2308 §5.
  const ttl = Math.min(typeof minimum === "number" ? minimum : NEGATIVE_TTL, soa?.ttl ?? NEGATIVE_TTL);
  // Neither a resolver nor an authority for the zone: a referral, or a lame server.
  if (!flag_ra && !flag_aa) return { kind: "failed", reason: "an answer without authority" };
  if (rcode === "NXDOMAIN") return { kind: "no-such-name", ttl, authenticated };
  if (circle) return { kind: "none", ttl, authenticated };
  if (endless) return { kind: "failed", reason: "too many aliases" };
  if (soa === undefined) {
    // RFC 2308 §2.2: without SOA it is no more than an alias, or nothing, that says "no such record"; and with the name
    // servers of someone else it is a referral.
    const foreign = answers.some((record) => !isOfAlias(record, names));
    if (foreign) return { kind: "failed", reason: "an answer with other records" };
    if (!flag_aa && authorities.some(({ type }) => type === "NS")) {
      return { kind: "failed", reason: "a referral" };
    }
  }
  // A server that does not recurse says nothing about what lies elsewhere (RFC 2308 §2.2).
  if (!flag_ra && followed && soa === undefined) return { kind: "failed", reason: "an alias not followed" };
  return { kind: "none", ttl, authenticated };
}

/** Whether a record is part of an alias of one of these names; DNAME makes them, and DNSSEC signs them. */
function isOfAlias({ type, name }: ResourceRecord, names: ReadonlySet<string>): boolean {
  return type === "DNAME" || type === "RRSIG" ||
    (type === "CNAME" && names.has(canonicalName(name) ?? name.toLowerCase()));
}

interface Aliases {
  readonly end: string;
  readonly circle: boolean;
  readonly followed: boolean;
  /** Whether there are more than are followed. */
  readonly endless: boolean;
  /** The name, and those that it is an alias of. */
  readonly names: ReadonlySet<string>;
}

/** Where the aliases in the answer lead, beginning at the name. */
function followAliases(answers: readonly ResourceRecord[], name: string, type: RecordType): Aliases {
  let end = name;
  const names = new Set([name]);
  const aliases = (more: { readonly circle?: boolean; readonly endless?: boolean }): Aliases => ({
    end,
    names,
    followed: names.size > 1,
    circle: more.circle ?? false,
    endless: more.endless ?? false,
  });
  if (answers.length === 0 || type === "CNAME") return aliases({});
  for (;;) {
    const alias = answers.find((record) => record.type === "CNAME" && sameName(record.name, end));
    const next = typeof alias?.data === "string" ? canonicalName(alias.data) : undefined;
    if (next === undefined) return aliases({});
    if (names.has(next)) return { ...aliases({ circle: true }), followed: true };
    if (names.size > MAX_ALIASES) return aliases({ endless: true });
    names.add(next);
    end = next;
  }
}
