/**
 * The demo's DNS server: knows where the demo's mail goes, and nothing else. Part of `demo`, not of the product.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createSocket } from "node:dgram";
// @ts-types="../../dns/dns_packet.d.ts"
import dnsPacket from "dns-packet";
import { readMessage, writeMessage } from "../../dns/tcp_message.ts";
import type { ResourceRecord } from "../../dns/dns_packet.d.ts";

/** A domain of the demo. */
export interface DemoDomain {
  /** Its name, such as `demo.test`. */
  readonly name: string;
  /** The host that takes its mail. */
  readonly host: string;
  /** That host's IP address. */
  readonly address: string;
  /** Its SPF record. */
  readonly spf?: string;
}

/** A running DNS server. */
export interface DemoDns extends AsyncDisposable {
  /** Where it listens, on 127.0.0.1, UDP and TCP. */
  readonly port: number;
}

const AUTHORITATIVE = 1 << 10;
const RECURSION_AVAILABLE = 1 << 7;
const NO_SUCH_NAME = 3;
const ROUTING = new Set(["MX", "A", "AAAA"]);

/**
 * Starts it on a port, or on a free one where that is taken. `asked` sees each question with its answer, as text.
 * @throws {Error} when no port can be bound
 */
export async function startDemoDns(
  domains: readonly DemoDomain[],
  { port, asked }: { readonly port: number; readonly asked: (line: string) => void },
): Promise<DemoDns> {
  const records = domains.flatMap(recordsOf);
  const { socket, listener } = await open(port).catch(() => open(0));
  socket.on("message", (bytes, { address, port }) => {
    const answer = respond(bytes, { records, asked });
    if (answer !== undefined) socket.send(answer, port, address);
  });
  const serving = serveTcp(listener, (bytes) => respond(bytes, { records, asked }));
  return {
    port: listener.addr.port,
    async [Symbol.asyncDispose]() {
      listener.close();
      await Promise.all([serving, new Promise<void>((resolve) => socket.close(resolve))]);
    },
  };
}

/** One port, by UDP and by TCP. */
async function open(port: number) {
  const listener = Deno.listen({ hostname: "127.0.0.1", port });
  const socket = createSocket("udp4");
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once("error", reject);
      socket.bind(listener.addr.port, "127.0.0.1", resolve);
    });
    socket.removeAllListeners("error");
    return { socket, listener };
  } catch (error) {
    listener.close();
    throw error;
  }
}

async function serveTcp(
  listener: Deno.TcpListener,
  answer: (bytes: Uint8Array) => Uint8Array | undefined,
): Promise<void> {
  for await (const conn of listener) {
    void (async () => {
      using open = conn;
      for (let message = await readMessage(open); message !== undefined; message = await readMessage(open)) {
        const bytes = answer(message) ?? new Uint8Array();
        await writeMessage(open, bytes);
      }
    })().catch(() => {});
  }
}

function recordsOf({ name, host, address, spf }: DemoDomain): ResourceRecord[] {
  return [
    ...(spf === undefined ? [] : [{ name, type: "TXT", ttl: 60, data: [Buffer.from(spf)] }]),
    { name, type: "MX", ttl: 60, data: { preference: 10, exchange: host } },
    { name: host, type: address.includes(":") ? "AAAA" : "A", ttl: 60, data: address },
  ];
}

function respond(
  bytes: Uint8Array,
  { records, asked }: {
    readonly records: readonly ResourceRecord[];
    readonly asked: (line: string) => void;
  },
): Uint8Array | undefined {
  let query;
  try {
    query = dnsPacket.decode(Buffer.from(bytes));
  } catch {
    return undefined;
  }
  const [question] = query.questions;
  if (question === undefined || query.type !== "query") return undefined;
  const name = question.name.toLowerCase();
  const ofName = records.filter((record) => record.name === name);
  const answers = ofName.filter((record) => record.type === question.type);
  // What the checks of incoming mail ask for is shown where there is something: most of it is not there in the demo.
  if (answers.length > 0 || ROUTING.has(question.type)) {
    asked(
      `${name} ${question.type}? ${
        answers.map(show).join(", ") || (ofName.length > 0 ? "none" : "no such name")
      }`,
    );
  }
  const flags = AUTHORITATIVE | RECURSION_AVAILABLE | (ofName.length > 0 ? 0 : NO_SUCH_NAME);
  return dnsPacket.encode({
    id: query.id,
    type: "response",
    flags,
    questions: query.questions,
    answers,
    authorities: answers.length > 0 ? [] : [authority(name)],
  });
}

function show({ data }: ResourceRecord): string {
  if (Array.isArray(data)) return JSON.stringify(data.join(""));
  return typeof data === "string" ? data : Object.values(data as Record<string, unknown>).join(" ");
}

/** The SOA record that makes a negative answer authoritative (RFC 2308 §2). */
function authority(name: string): ResourceRecord {
  const zone = name.split(".").slice(-2).join(".");
  const data = {
    mname: `ns.${zone}`,
    rname: `hostmaster.${zone}`,
    serial: 1,
    refresh: 3600,
    retry: 600,
    expire: 86400,
    minimum: 60,
  };
  return { name: zone, type: "SOA", ttl: 60, data };
}
