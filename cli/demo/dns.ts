/**
 * The demo's DNS server: knows where the demo's mail goes, and nothing else. Part of `demo`, not of the product.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createSocket } from "node:dgram";
// @ts-types="../../dns/dns_packet.d.ts"
import dnsPacket from "dns-packet";
import type { ResourceRecord } from "../../dns/dns_packet.d.ts";

/** A domain of the demo. */
export interface DemoDomain {
  /** Its name, such as `demo.test`. */
  readonly name: string;
  /** The host that takes its mail. */
  readonly host: string;
  /** That host's IP address. */
  readonly address: string;
}

/** A running DNS server. */
export interface DemoDns extends AsyncDisposable {
  /** Where it listens, on 127.0.0.1, UDP. */
  readonly port: number;
}

const AUTHORITATIVE = 1 << 10;
const RECURSION_AVAILABLE = 1 << 7;
const NO_SUCH_NAME = 3;

/**
 * Starts it on a port, or on a free one where that is taken. `asked` sees each question with its answer, as text.
 * @throws {Error} when no port can be had
 */
export async function startDemoDns(
  domains: readonly DemoDomain[],
  { port, asked }: { readonly port: number; readonly asked: (line: string) => void },
): Promise<DemoDns> {
  const records = domains.flatMap(recordsOf);
  const socket = await open(port).catch(() => open(0));
  socket.on("message", (bytes, { address, port }) => {
    const answer = respond(bytes, { records, asked });
    if (answer !== undefined) socket.send(answer, port, address);
  });
  return {
    port: socket.address().port,
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => socket.close(resolve)),
  };
}

async function open(port: number) {
  const socket = createSocket("udp4");
  await new Promise<void>((resolve, reject) => {
    socket.once("error", reject);
    socket.bind(port, "127.0.0.1", resolve);
  });
  socket.removeAllListeners("error");
  return socket;
}

function recordsOf({ name, host, address }: DemoDomain): ResourceRecord[] {
  return [
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
  asked(
    `${name} ${question.type}? ${
      answers.map(show).join(", ") || (ofName.length > 0 ? "none" : "no such name")
    }`,
  );
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
  return typeof data === "string" ? data : Object.values(data as Record<string, unknown>).join(" ");
}

/** Makes "there is none" an authority's word (RFC 2308 §2). */
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
