/**
 * DNS over the wire (RFC 1035, EDNS0 of RFC 6891): for what `Deno.resolveDns` cannot tell, such as NXDOMAIN from
 * SERVFAIL, the AD bit, and rarer types.
 *
 * Answers are believed only from the address asked, with the random id, to a random port, and to the exact question
 * (RFC 5452). Nothing is cached here.
 *
 * @module
 */
import { createSocket } from "node:dgram";
import { isIPv6 } from "node:net";
// @ts-types="./dns_packet.d.ts"
import dnsPacket from "dns-packet";
import type { Clock } from "../base/clock.ts";
import type { DecodedPacket } from "./dns_packet.d.ts";
import {
  decodeAnswer,
  interpretAnswer,
  type Query,
  type RecordType,
  type WireAnswer,
} from "./wire_answer.ts";
import { errorText } from "../base/error_text.ts";
import { writeAll } from "../base/write_all.ts";

/** A DNS server's address. */
export interface DnsServer {
  /** An IP address. */
  readonly address: string;
  /** UDP and TCP port, 53 as a rule. */
  readonly port: number;
}

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

const RECURSION_DESIRED = 1 << 8;
const AUTHENTIC_DATA = 1 << 5;

/** Asks the servers for records of a name (canonical, no trailing dot). Never throws. */
export async function askWire(name: string, type: RecordType, options: WireOptions): Promise<WireAnswer> {
  let reason = "no DNS server to ask";
  for (const patience of PATIENCE) {
    for (const server of options.servers) {
      try {
        const packet = await exchange({ name, type }, server, { ...options, patience });
        const answer = interpretAnswer(packet, { name, type });
        if (answer.kind !== "failed") return answer;
        reason = `${answer.reason} from ${server.address}`;
      } catch (error) {
        options.unanswered?.(server);
        reason = `${errorText(error)} from ${server.address}`;
      }
    }
  }
  return { kind: "failed", reason };
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
    const packet = decodeAnswer(bytes, query, id);
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
    const packet = decodeAnswer(await readExactly(conn, high << 8 | low), query, id);
    if (packet === undefined) throw new Error("an answer to something else over TCP");
    return packet;
  } catch (error) {
    throw over.signal.aborted ? over.signal.reason : error;
  } finally {
    timer.cancel();
    if (!over.signal.aborted) conn?.close();
  }
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
