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
import type { Clock } from "../base/clock.ts";
import type { DecodedPacket } from "./dns_packet.d.ts";
import {
  decodeAnswer,
  interpretAnswer,
  type Query,
  type RecordType,
  refusesEdns,
  type WireAnswer,
} from "./wire_answer.ts";
import { errorText } from "../base/error_text.ts";
import { encodeQuery, randomId } from "./query_message.ts";
import { TcpChannel } from "./tcp_channel.ts";

/** A DNS server's address. */
export interface DnsServer {
  /** An IP address; a link-local one with its zone as a number, such as `fe80::1%2`. */
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
  /** Called for each server that did not answer. */
  readonly unanswered?: (server: DnsServer) => void;
  /** Which servers know no EDNS; kept from one question to the next. */
  readonly edns?: EdnsMemory;
  /** For a process that may send no datagrams: the way to each server over TCP. */
  readonly channel?: (server: DnsServer) => TcpChannel;
  /** How long each server is waited for, in milliseconds, in one round after the other; 2 and 5 seconds if absent. */
  readonly timeouts?: readonly number[];
}

// Milliseconds. A server may learn EDNS, and one that was merely slow does know it.
const WITHOUT_EDNS_FOR = 600_000;
const MAX_WITHOUT_EDNS = 100;

/** Remembers for ten minutes which servers answer only without EDNS; at most 100. */
export class EdnsMemory {
  readonly #clock: Clock;
  readonly #until = new Map<string, number>();

  /** @param clock Measures the ten minutes. */
  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether to use EDNS with this server. */
  isKnownTo({ address, port }: DnsServer): boolean {
    return this.#clock.monotonic() >= (this.#until.get(`${address} ${port}`) ?? 0);
  }

  /** It answered without EDNS what it did not answer with it. */
  noteWithout({ address, port }: DnsServer): void {
    if (this.#until.size >= MAX_WITHOUT_EDNS) this.#until.clear();
    this.#until.set(`${address} ${port}`, this.#clock.monotonic() + WITHOUT_EDNS_FOR);
  }
}

// Each server in turn, and once more with a longer timeout: 7 seconds for one dead server, 21 for three.
const TIMEOUTS: readonly number[] = [2_000, 5_000];
/** Asks the servers for records of a name (canonical, no trailing dot). Never throws. */
export async function askWire(name: string, type: RecordType, options: WireOptions): Promise<WireAnswer> {
  const { servers, clock, unanswered, edns: memory, channel, timeouts = TIMEOUTS } = options;
  let reason = "no DNS server to ask";
  const silent = new Set<DnsServer>();
  for (const timeout of timeouts) {
    for (const server of servers) {
      // Some servers, and some firewalls, drop what has EDNS.
      const edns = (memory?.isKnownTo(server) ?? true) && !silent.has(server);
      try {
        const packet = await exchange({ name, type }, server, {
          clock,
          timeout,
          edns,
          memory,
          channel: channel?.(server),
        });
        if (silent.has(server)) memory?.noteWithout(server);
        const answer = interpretAnswer(packet, { name, type });
        if (answer.kind !== "failed") return answer;
        reason = `${answer.reason} from ${server.address}`;
      } catch (error) {
        silent.add(server);
        unanswered?.(server);
        reason = `${errorText(error)} from ${server.address}`;
      }
    }
  }
  return { kind: "failed", reason };
}

type ExchangeOptions = Pick<WireOptions, "clock"> & {
  readonly timeout: number;
  readonly edns: boolean;
  readonly channel: TcpChannel | undefined;
};

/**
 * One question to one server: over UDP, over TCP if the answer was cut or no datagrams may be sent, without EDNS if the
 * server knows none.
 */
async function exchange(
  query: Query,
  server: DnsServer,
  { memory, ...options }: ExchangeOptions & { readonly memory: EdnsMemory | undefined },
): Promise<DecodedPacket> {
  let { edns } = options;
  const first = options.channel === undefined ? exchangeUdp : exchangeTcp;
  let packet = await first(query, server, options);
  if (edns && refusesEdns(packet)) {
    edns = false;
    packet = await first(query, server, { ...options, edns });
    if (packet.rcode === "NOERROR" || packet.rcode === "NXDOMAIN") memory?.noteWithout(server);
  }
  return packet.flag_tc && first === exchangeUdp
    ? await exchangeTcp(query, server, { ...options, edns })
    : packet;
}

async function exchangeUdp(
  query: Query,
  server: DnsServer,
  { clock, timeout, edns }: ExchangeOptions,
): Promise<DecodedPacket> {
  // The system gives each socket a port of its own choice, and, since it is connected, only this server's packets.
  const socket = createSocket(isIPv6(server.address) ? "udp6" : "udp4");
  const { promise, resolve, reject } = Promise.withResolvers<DecodedPacket>();
  const id = randomId();
  const timer = clock.after(timeout, () => reject(new Error("no answer")));
  socket.on("error", reject);
  socket.on("message", (bytes) => {
    const packet = decodeAnswer(bytes, query, id);
    if (packet !== undefined) resolve(packet);
  });
  try {
    socket.connect(server.port, server.address, () => socket.send(encodeQuery(query, { id, edns })));
    return await promise;
  } finally {
    timer.cancel();
    socket.close();
  }
}

async function exchangeTcp(
  query: Query,
  { address, port }: DnsServer,
  { clock, timeout, edns, channel = new TcpChannel({ address, port, clock }) }: ExchangeOptions,
): Promise<DecodedPacket> {
  return await channel.ask({
    encode: (id) => encodeQuery(query, { id, edns }),
    decode: (bytes, id) => decodeAnswer(bytes, query, id),
    timeout,
  });
}
