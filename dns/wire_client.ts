/**
 * DNS over the wire (RFC 1035, EDNS0 of RFC 6891): for what `Deno.resolveDns` cannot tell, such as NXDOMAIN from
 * SERVFAIL, the AD bit, and rarer types.
 *
 * Answers are believed only from the address asked, with the random id, to a random port, and to the exact question
 * (RFC 5452). Nothing is cached here.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createSocket } from "node:dgram";
import { isIPv6 } from "node:net";
// @ts-types="./dns_packet.d.ts"
import dnsPacket from "dns-packet";
import type { Clock } from "../smtp/clock.ts";
import { canonicalName } from "./name.ts";
import type { DecodedPacket, ResourceRecord } from "./dns_packet.d.ts";

/** Types that can be asked for. */
export type RecordType = "MX" | "A" | "AAAA" | "TXT" | "PTR" | "CNAME" | "TLSA";

/** A DNS server's address. */
export interface DnsServer {
  /** An IP address. */
  readonly address: string;
  /** UDP and TCP port, 53 as a rule. */
  readonly port: number;
}

/** What came of a question; `ttl` in seconds. */
export type WireAnswer =
  /** Records of the type, at the end of the aliases; `data` as dns-packet decodes it. */
  | {
    readonly kind: "found";
    readonly records: readonly unknown[];
    readonly ttl: number;
    readonly authenticated: boolean;
  }
  /** The name, or its alias, exists without such records, or an alias leads in a circle. */
  | { readonly kind: "none"; readonly ttl: number; readonly authenticated: boolean }
  /** NXDOMAIN. */
  | { readonly kind: "no-such-name"; readonly ttl: number; readonly authenticated: boolean }
  /** No server could tell. */
  | { readonly kind: "failed"; readonly reason: string };

/** What asking depends on. */
export interface WireOptions {
  /** Asked in turn. */
  readonly servers: readonly DnsServer[];
  /** Measures the waits. */
  readonly clock: Clock;
  /** Hears of each server that did not answer. */
  readonly unanswered?: (server: DnsServer) => void;
}

// Each server in turn, and once more with more patience: 7 seconds for one dead server, 21 for three.
const PATIENCE: readonly number[] = [2_000, 5_000];
// Fits any path without fragments (RFC 9715).
const UDP_SIZE = 1232;
const MAX_TCP = 65_535;
const MAX_ALIASES = 16;
// Seconds, where the answer does not say.
const NEGATIVE_TTL = 60;

const RECURSION_DESIRED = 1 << 8;
const AUTHENTIC_DATA = 1 << 5;

/** Asks the servers for records of a name (canonical, no trailing dot). Never throws. */
export async function askWire(name: string, type: RecordType, options: WireOptions): Promise<WireAnswer> {
  let reason = "no DNS server to ask";
  for (const patience of PATIENCE) {
    for (const server of options.servers) {
      try {
        const packet = await exchange({ name, type }, server, { ...options, patience });
        const answer = interpret(packet, name, type);
        if (answer.kind !== "failed") return answer;
        reason = `${answer.reason} from ${server.address}`;
      } catch (error) {
        options.unanswered?.(server);
        reason = `${error instanceof Error ? error.message : String(error)} from ${server.address}`;
      }
    }
  }
  return { kind: "failed", reason };
}

interface Query {
  readonly name: string;
  readonly type: RecordType;
}

type ExchangeOptions = WireOptions & { readonly patience: number };

/** One question to one server: over UDP, over TCP if the answer was cut, without EDNS if the server knows none. */
async function exchange(query: Query, server: DnsServer, options: ExchangeOptions): Promise<DecodedPacket> {
  let packet = await exchangeUdp(query, server, { ...options, edns: true });
  if (packet.rcode === "FORMERR" || packet.rcode === "NOTIMP") {
    packet = await exchangeUdp(query, server, { ...options, edns: false });
  }
  return packet.flag_tc ? await exchangeTcp(query, server, options) : packet;
}

function encode(query: Query, { id, edns }: { id: number; edns: boolean }): Uint8Array {
  return dnsPacket.encode({
    id,
    type: "query",
    // AD asks for the AD bit without the signatures (RFC 6840 §5.7).
    flags: RECURSION_DESIRED | AUTHENTIC_DATA,
    questions: [query],
    additionals: edns ? [{ type: "OPT", name: ".", udpPayloadSize: UDP_SIZE, flags: 0, options: [] }] : [],
  });
}

function randomId(): number {
  const [id = 0] = crypto.getRandomValues(new Uint16Array(1));
  return id;
}

/** The answer in these bytes; `undefined` if they are none to this question. */
function decode(bytes: Uint8Array, { name, type }: Query, id: number): DecodedPacket | undefined {
  let packet: DecodedPacket;
  try {
    packet = dnsPacket.decode(Buffer.from(bytes));
  } catch {
    return undefined;
  }
  const [question, ...more] = packet.questions;
  const fits = packet.id === id && packet.type === "response" && packet.opcode === "QUERY" &&
    question !== undefined && more.length === 0 && question.type === type && question.class === "IN" &&
    canonicalName(question.name) === name;
  return fits ? packet : undefined;
}

async function exchangeUdp(
  query: Query,
  server: DnsServer,
  { clock, patience, edns }: ExchangeOptions & { readonly edns: boolean },
): Promise<DecodedPacket> {
  // The system gives each socket a port of its own choice, and, since it is connected, only this server's packets.
  const socket = createSocket(isIPv6(server.address) ? "udp6" : "udp4");
  const { promise, resolve, reject } = Promise.withResolvers<DecodedPacket>();
  const id = randomId();
  const timer = clock.after(patience, () => reject(new Error("no answer")));
  socket.on("error", reject);
  socket.on("message", (bytes) => {
    const packet = decode(bytes, query, id);
    if (packet !== undefined) resolve(packet);
  });
  try {
    socket.connect(server.port, server.address, () => socket.send(encode(query, { id, edns })));
    return await promise;
  } finally {
    timer.cancel();
    socket.close();
  }
}

async function exchangeTcp(
  query: Query,
  server: DnsServer,
  { clock, patience }: ExchangeOptions,
): Promise<DecodedPacket> {
  const over = new AbortController();
  const timer = clock.after(patience, () => over.abort(new Error("no answer over TCP")));
  let conn: Deno.TcpConn | undefined;
  try {
    conn = await Deno.connect({ hostname: server.address, port: server.port, signal: over.signal });
    over.signal.addEventListener("abort", () => conn?.close());
    over.signal.throwIfAborted();
    const id = randomId();
    const message = encode(query, { id, edns: true });
    await writeAll(conn, Uint8Array.of(message.length >> 8, message.length & 0xff, ...message));
    const [high = 0, low = 0] = await readExactly(conn, 2);
    const packet = decode(await readExactly(conn, high << 8 | low), query, id);
    if (packet === undefined) throw new Error("an answer to something else over TCP");
    return packet;
  } catch (error) {
    throw over.signal.aborted ? over.signal.reason : error;
  } finally {
    timer.cancel();
    if (!over.signal.aborted) conn?.close();
  }
}

async function writeAll(conn: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
}

async function readExactly(conn: Deno.Conn, size: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(Math.min(size, MAX_TCP));
  for (let at = 0; at < bytes.length;) {
    const read = await conn.read(bytes.subarray(at));
    if (read === null) throw new Error("connection closed over TCP");
    at += read;
  }
  return bytes;
}

function interpret(packet: DecodedPacket, name: string, type: RecordType): WireAnswer {
  const { rcode, flag_aa, flag_ra, flag_ad: authenticated, answers, authorities } = packet;
  const { end, circle, followed } = followAliases(answers, name, type);
  // BIND calls it SERVFAIL, and shows the circle.
  if (circle && flag_aa) return { kind: "none", ttl: NEGATIVE_TTL, authenticated };
  if (rcode !== "NOERROR" && rcode !== "NXDOMAIN") return { kind: "failed", reason: rcode };
  const found = answers.filter((record) => record.type === type && canonicalName(record.name) === end);
  if (found.length > 0) {
    const ttl = Math.min(...found.map((record) => record.ttl ?? 0));
    return { kind: "found", records: found.map((record) => record.data), ttl, authenticated };
  }
  const soa = authorities.find((record) => record.type === "SOA");
  const minimum = (soa?.data as { minimum?: unknown } | undefined)?.minimum;
  // RFC 2308 §5.
  const ttl = Math.min(typeof minimum === "number" ? minimum : NEGATIVE_TTL, soa?.ttl ?? NEGATIVE_TTL);
  if (rcode === "NXDOMAIN") return { kind: "no-such-name", ttl, authenticated };
  if (circle) return { kind: "none", ttl, authenticated };
  // A server that does not recurse says nothing about what lies elsewhere (RFC 2308 §2.2).
  if (!flag_ra && followed && soa === undefined) return { kind: "failed", reason: "an alias not followed" };
  if (!flag_ra && !flag_aa) return { kind: "failed", reason: "a referral" };
  return { kind: "none", ttl, authenticated };
}

/** Where the aliases in the answer lead, beginning at the name. */
function followAliases(
  answers: readonly ResourceRecord[],
  name: string,
  type: RecordType,
): { end: string; circle: boolean; followed: boolean } {
  let end = name;
  const seen = new Set([name]);
  while (type !== "CNAME" && seen.size <= MAX_ALIASES) {
    const alias = answers.find((record) => record.type === "CNAME" && canonicalName(record.name) === end);
    const next = typeof alias?.data === "string" ? canonicalName(alias.data) : undefined;
    if (next === undefined) return { end, circle: false, followed: seen.size > 1 };
    if (seen.has(next)) return { end, circle: true, followed: true };
    seen.add(next);
    end = next;
  }
  return { end, circle: false, followed: seen.size > 1 };
}
