/**
 * A scripted DNS server on a loopback port, UDP and TCP: what the servers ask in the self-test, and in tests.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createSocket, type Socket } from "node:dgram";
// @ts-types="../dns/dns_packet.d.ts"
import dnsPacket from "dns-packet";
import { readMessage, writeMessage } from "../dns/tcp_message.ts";
import type { DecodedPacket, ResourceRecord } from "../dns/dns_packet.d.ts";

/** What it says to a question. */
export interface FakeDnsReply {
  /** Default 0 (NOERROR); 1 FORMERR, 2 SERVFAIL, 3 NXDOMAIN, 5 REFUSED. */
  readonly rcode?: number;
  readonly answers?: readonly ResourceRecord[];
  readonly authorities?: readonly ResourceRecord[];
  /** Default RA and AA. */
  readonly flags?: number;
  /** Over UDP: only says that the answer was cut. */
  readonly truncated?: boolean;
  /** Nothing but the header, as from a server that could not read the question. */
  readonly bare?: boolean;
  /** Whether it answers a question that has EDNS with EDNS; default: yes, but for FORMERR and NOTIMP. */
  readonly edns?: boolean;
  /** The upper bits of the response code, in the OPT record: 1 for BADVERS. */
  readonly extendedRcode?: number;
  /** What is sent before it, made of the right answer. */
  readonly before?: (answer: Uint8Array) => Uint8Array;
}

/** Flags of an answer. */
export const AA = 1 << 10, TC = 1 << 9, RA = 1 << 7, AD = 1 << 5;

/** One question as it came. */
export interface AskedQuestion {
  readonly name: string;
  readonly type: string;
  readonly transport: "udp" | "tcp";
  readonly edns: boolean;
  readonly id: number;
  readonly port: number;
}

/** A reply, or none. */
export type DnsAnswer = FakeDnsReply | "silent";

/** How to start a {@linkcode FakeDns}. */
export interface FakeDnsOptions {
  /** Its port; default: a free one. */
  readonly port?: number;
  /** Answers questions that are not in the zone; default: NXDOMAIN. */
  readonly otherwise?: (question: AskedQuestion) => DnsAnswer;
}

// Enough for any test; what runs for long keeps no more.
const MAX_ASKED = 100_000;

/** Answers by `name TYPE`; `silent` sends nothing. */
export class FakeDns implements AsyncDisposable {
  /** Its address as a resolver takes it. */
  readonly server: string;
  readonly port: number;
  /** The first 100,000 questions, in order. */
  readonly asked: AskedQuestion[] = [];
  /** What it knows. */
  zone: Record<string, DnsAnswer | ((question: AskedQuestion) => DnsAnswer)>;
  readonly #otherwise: (question: AskedQuestion) => DnsAnswer;
  readonly #udp: Socket;
  readonly #tcp: Deno.TcpListener;
  readonly #work = new Set<Promise<void>>();

  private constructor(
    zone: FakeDns["zone"],
    { udp, tcp, otherwise = () => ({ rcode: 3 }) }: FakeDnsOptions & {
      readonly udp: Socket;
      readonly tcp: Deno.TcpListener;
    },
  ) {
    this.zone = zone;
    this.#otherwise = otherwise;
    this.#udp = udp;
    this.#tcp = tcp;
    this.port = tcp.addr.port;
    this.server = `127.0.0.1:${this.port}`;
    udp.on("message", (bytes, { port }) => {
      for (const answer of this.#answer(bytes, "udp", port)) udp.send(answer, port, "127.0.0.1");
    });
    this.#track(this.#serveTcp());
  }

  /**
   * Starts it.
   * @throws {Error} when the port that it must have is taken
   */
  static async start(zone: FakeDns["zone"] = {}, options: FakeDnsOptions = {}): Promise<FakeDns> {
    const { port = 0 } = options;
    for (;;) {
      const tcp = Deno.listen({ hostname: "127.0.0.1", port });
      const udp = createSocket("udp4");
      try {
        await new Promise<void>((resolve, reject) => {
          udp.once("error", reject);
          udp.bind(tcp.addr.port, "127.0.0.1", resolve);
        });
        return new FakeDns(zone, { ...options, udp, tcp });
      } catch (error) {
        tcp.close();
        udp.close();
        if (port !== 0) throw error;
      }
    }
  }

  /** Stops. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#tcp.close();
    await new Promise<void>((resolve) => this.#udp.close(resolve));
    await Promise.all(this.#work);
  }

  #track(work: Promise<void>): void {
    const tracked = work.catch(() => {}).finally(() => this.#work.delete(tracked));
    this.#work.add(tracked);
  }

  async #serveTcp(): Promise<void> {
    for await (const conn of this.#tcp) this.#track(this.#serveConn(conn));
  }

  async #serveConn(conn: Deno.TcpConn): Promise<void> {
    try {
      for (;;) {
        const message = await readMessage(conn);
        if (message === undefined) return;
        for (const answer of this.#answer(message, "tcp", conn.remoteAddr.port)) {
          await writeMessage(conn, answer);
        }
      }
    } finally {
      conn.close();
    }
  }

  #answer(bytes: Uint8Array, transport: "udp" | "tcp", port: number): Uint8Array[] {
    const query = decode(bytes);
    const [question] = query?.questions ?? [];
    if (query === undefined || question === undefined) return [];
    const { name, type } = question;
    const edns = query.additionals.some((record) => record.type === "OPT");
    const asked = { name, type, transport, edns, id: query.id, port };
    if (this.asked.length < MAX_ASKED) this.asked.push(asked);
    const known = this.zone[`${name.toLowerCase()} ${type}`] ?? this.#otherwise;
    const reply = typeof known === "function" ? known(asked) : known;
    if (reply === "silent") return [];
    const cut = reply.truncated === true && transport === "udp";
    const { rcode = 0, extendedRcode = 0, bare = false } = reply;
    const opt = edns && !bare && (reply.edns ?? (rcode !== 1 && rcode !== 4));
    const answer = dnsPacket.encode({
      id: query.id,
      type: "response",
      flags: (reply.flags ?? AA | RA) | rcode | (cut ? TC : 0),
      questions: bare ? [] : query.questions,
      answers: cut ? [] : reply.answers ?? [],
      authorities: reply.authorities ?? [],
      additionals: opt
        ? [{ type: "OPT", name: ".", udpPayloadSize: 1232, extendedRcode, flags: 0, options: [] }]
        : [],
    });
    return reply.before === undefined ? [answer] : [reply.before(answer), answer];
  }
}

function decode(bytes: Uint8Array): DecodedPacket | undefined {
  try {
    return dnsPacket.decode(Buffer.from(bytes));
  } catch {
    return undefined;
  }
}

/** An authority's word on how long "none" holds. */
export function soa(name: string, minimum = 30): ResourceRecord {
  return {
    name,
    type: "SOA",
    ttl: 3600,
    data: {
      mname: `ns.${name}`,
      rname: `hostmaster.${name}`,
      serial: 1,
      refresh: 1,
      retry: 1,
      expire: 1,
      minimum,
    },
  };
}
