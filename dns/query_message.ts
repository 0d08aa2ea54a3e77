/**
 * A question as it goes over the wire (RFC 1035 §4.1), and the answer that there is nothing, which is all that most
 * questions about policies get. Both are written out here, since a general library takes twenty times as long for them.
 *
 * @module
 */
import type { DecodedPacket, ResourceRecord } from "./dns_packet.d.ts";

/** Types that can be asked for. */
export type RecordType = "MX" | "A" | "AAAA" | "TXT" | "PTR" | "CNAME" | "TLSA";

/** One question. */
export interface Query {
  /** Canonical, no trailing dot. */
  readonly name: string;
  /** What is asked for. */
  readonly type: RecordType;
}

const TYPES: Readonly<Record<RecordType, number>> = {
  A: 1,
  CNAME: 5,
  PTR: 12,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  TLSA: 52,
};
const IN = 1;
const SOA = 6;
const OPT = 41;
const HEADER = 12;
const OPT_SIZE = 11;
// Fits any path without fragments (RFC 9715).
const UDP_SIZE = 1232;

// AD asks for the AD bit without the signatures (RFC 6840 §5.7).
const RECURSION_DESIRED = 1 << 8, AUTHENTIC_DATA = 1 << 5;
const RESPONSE = 1 << 15, OPCODE = 15 << 11, AA = 1 << 10, TC = 1 << 9, RA = 1 << 7, RCODE = 15;
const RCODES: Readonly<Record<number, string>> = { 0: "NOERROR", 3: "NXDOMAIN" };

/** The message with this id; `edns`: with an OPT record (RFC 6891). */
export function encodeQuery(
  { name, type }: Query,
  { id, edns }: { readonly id: number; readonly edns: boolean },
): Uint8Array {
  const end = HEADER + name.length + 2 + 4;
  const bytes = new Uint8Array(edns ? end + OPT_SIZE : end);
  put16(bytes, 0, id);
  put16(bytes, 2, RECURSION_DESIRED | AUTHENTIC_DATA);
  bytes[5] = 1;
  // Each dot makes room for the length of the label after it.
  let length = HEADER;
  for (let at = 0; at < name.length; at++) {
    const code = name.charCodeAt(at);
    const place = HEADER + 1 + at;
    if (code === DOT) {
      bytes[length] = place - length - 1;
      length = place;
    } else bytes[place] = code;
  }
  bytes[length] = HEADER + name.length - length;
  put16(bytes, end - 4, TYPES[type]);
  put16(bytes, end - 2, IN);
  if (edns) {
    bytes[11] = 1;
    put16(bytes, end + 1, OPT);
    put16(bytes, end + 3, UDP_SIZE);
  }
  return bytes;
}

const DOT = 46;

/**
 * The message in these bytes if it says, in answer to this question, that there is no such name or no such record, with
 * no more than an SOA and an OPT record. `undefined` for all others, which have to be decoded.
 */
export function readNegative(bytes: Uint8Array, query: Query, id: number): DecodedPacket | undefined {
  const { name, type } = query;
  const flags = get16(bytes, 2);
  const rcode = RCODES[flags & RCODE];
  const authorities = get16(bytes, 8);
  const additionals = get16(bytes, 10);
  const question = HEADER + name.length + 2;
  if (
    bytes.length < question + 4 || get16(bytes, 0) !== id ||
    (flags & (RESPONSE | OPCODE | TC)) !== RESPONSE ||
    rcode === undefined || get16(bytes, 4) !== 1 || get16(bytes, 6) !== 0 || authorities > 1 ||
    additionals > 1 ||
    !isName(bytes, name) || get16(bytes, question) !== TYPES[type] || get16(bytes, question + 2) !== IN
  ) return undefined;
  let at = question + 4;
  const soa: ResourceRecord[] = [];
  if (authorities === 1) {
    const start = afterName(bytes, at);
    const end = start + 10 + get16(bytes, start + 8);
    const numbers = afterName(bytes, afterName(bytes, start + 10));
    const isSoa = get16(bytes, start) === SOA && get16(bytes, start + 2) === IN && numbers + 20 === end &&
      end <= bytes.length;
    if (!isSoa) return undefined;
    soa.push({
      type: "SOA",
      name: "",
      ttl: get32(bytes, start + 4),
      data: { minimum: get32(bytes, end - 4) },
    });
    at = end;
  }
  const opt: ResourceRecord[] = [];
  if (additionals === 1) {
    if (bytes[at] !== 0 || get16(bytes, at + 1) !== OPT) return undefined;
    opt.push({ type: "OPT", name: ".", extendedRcode: bytes[at + 5] ?? 0 });
    at += OPT_SIZE + get16(bytes, at + 9);
  }
  if (at !== bytes.length) return undefined;
  return {
    id,
    type: "response",
    flags,
    questions: [{ name, type, class: "IN" }],
    rcode,
    opcode: "QUERY",
    flag_aa: (flags & AA) !== 0,
    flag_tc: false,
    flag_ra: (flags & RA) !== 0,
    flag_ad: (flags & AUTHENTIC_DATA) !== 0,
    answers: [],
    authorities: soa,
    additionals: opt,
  };
}

/** Whether the question is about this name; one in other letters is left to the decoder. */
function isName(bytes: Uint8Array, name: string): boolean {
  let length = HEADER;
  for (let at = 0; at < name.length; at++) {
    const code = name.charCodeAt(at);
    const place = HEADER + 1 + at;
    if (code === DOT) {
      if (bytes[length] !== place - length - 1) return false;
      length = place;
    } else if (bytes[place] !== code) return false;
  }
  return bytes[length] === HEADER + name.length - length && bytes[HEADER + 1 + name.length] === 0;
}

/** Where the name ends that begins there: after its root, or after a pointer, which is not followed. */
function afterName(bytes: Uint8Array, start: number): number {
  for (let at = start; at < bytes.length;) {
    const length = bytes[at] as number;
    if (length === 0) return at + 1;
    if (length >= 0xc0) return at + 2;
    at += 1 + length;
  }
  return Infinity;
}

function get16(bytes: Uint8Array, at: number): number {
  return (bytes[at] ?? 0) << 8 | (bytes[at + 1] ?? 0);
}

function get32(bytes: Uint8Array, at: number): number {
  return get16(bytes, at) * 65_536 + get16(bytes, at + 2);
}

function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8;
  bytes[at + 1] = value & 0xff;
}

const ids = new Uint16Array(256);
let idsLeft = 0;

/** An id that cannot be guessed. Many are drawn at once, since each draw costs more than all else in a question. */
export function randomId(): number {
  if (idsLeft === 0) {
    crypto.getRandomValues(ids);
    idsLeft = ids.length;
  }
  return ids[--idsLeft] ?? 0;
}
