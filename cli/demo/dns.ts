/**
 * What the demo's DNS server knows: where the demo's mail goes. Part of `demo`, not of the product.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { ResourceRecord } from "../../dns/dns_packet.d.ts";
import { type AskedQuestion, FakeDns, type FakeDnsReply, soa } from "../../selftest/dns_server.ts";

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

const NO_SUCH_NAME = 3;
const ROUTING = new Set(["MX", "A", "AAAA"]);

/**
 * Starts it on a port, or on a free one where that is taken. `asked` is called with each question and its answer, as
 * text.
 * @throws {Error} when no port can be bound
 */
export async function startDemoDns(
  domains: readonly DemoDomain[],
  { port, asked }: { readonly port: number; readonly asked: (line: string) => void },
): Promise<FakeDns> {
  const records = domains.flatMap(recordsOf);
  const otherwise = (question: AskedQuestion) => answer(question, { records, asked });
  return await FakeDns.start({}, { port, otherwise }).catch(() => FakeDns.start({}, { otherwise }));
}

function recordsOf({ name, host, address, spf }: DemoDomain): ResourceRecord[] {
  return [
    ...(spf === undefined ? [] : [{ name, type: "TXT", ttl: 60, data: [Buffer.from(spf)] }]),
    { name, type: "MX", ttl: 60, data: { preference: 10, exchange: host } },
    { name: host, type: address.includes(":") ? "AAAA" : "A", ttl: 60, data: address },
  ];
}

function answer(
  question: AskedQuestion,
  { records, asked }: {
    readonly records: readonly ResourceRecord[];
    readonly asked: (line: string) => void;
  },
): FakeDnsReply {
  const name = question.name.toLowerCase();
  const ofName = records.filter((record) => record.name === name);
  const answers = ofName.filter((record) => record.type === question.type);
  // The checks of incoming mail ask for much that the demo does not have; only what is found is shown.
  if (answers.length > 0 || ROUTING.has(question.type)) {
    const none = ofName.length > 0 ? "none" : "no such name";
    asked(`${name} ${question.type}? ${answers.map(show).join(", ") || none}`);
  }
  if (answers.length > 0) return { answers };
  const zone = name.split(".").slice(-2).join(".");
  return { rcode: ofName.length > 0 ? 0 : NO_SUCH_NAME, authorities: [soa(zone, 60)] };
}

function show({ data }: ResourceRecord): string {
  if (Array.isArray(data)) return JSON.stringify(data.join(""));
  return typeof data === "string" ? data : Object.values(data as Record<string, unknown>).join(" ");
}
