/**
 * Changes a zone by dynamic update (RFC 2136), signed with a shared key (TSIG, RFC 8945): for DNS-01.
 *
 * @module
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import { concat } from "../base/concat.ts";
import { readMessage, writeMessage } from "../dns/tcp_message.ts";
import type { Challenge, Responder } from "./challenge.ts";

/** The key that an update is signed with. */
export interface TsigKey {
  /** The name that both sides use for it. */
  readonly name: string;
  readonly secret: Uint8Array;
}

/** Where updates go. */
export interface UpdateOptions {
  /** The primary server's IP address. */
  readonly address: string;
  readonly port: number;
  /** The zone that the names are in. */
  readonly zone: string;
  readonly key: TsigKey;
  /** Milliseconds since the epoch, for the signature. */
  readonly now: () => number;
}

/** One change: adds or removes a TXT record. */
export interface TxtChange {
  readonly name: string;
  /** Up to 255 octets of ASCII. */
  readonly text: string;
  readonly present: boolean;
}

/** The server did not make the change. */
export class UpdateError extends Error {
  /** `message`: what it answered. */
  constructor(message: string) {
    super(message);
    this.name = "UpdateError";
  }
}

const [SOA, TXT, TSIG] = [6, 16, 250];
const [IN, NONE, ANY] = [1, 254, 255];
const UPDATE = 5 << 11;
const ALGORITHM = "hmac-sha256";
/** Seconds that the clocks of both sides may differ. */
const FUDGE = 300;
const TTL = 60;
const TIMEOUT = 30_000;
const HEADER = 12;
const MAC_LENGTH = 32;
const RCODES: Readonly<Record<number, string>> = {
  1: "FORMERR",
  2: "SERVFAIL",
  4: "NOTIMP: it accepts no updates",
  5: "REFUSED: the key may not change this name",
  6: "YXDOMAIN",
  8: "NXRRSET",
  9: "NOTAUTH: the key or the clock is wrong, or the server has no such zone",
  10: "NOTZONE: the name is not in the zone",
};

/**
 * Makes one change, over TCP.
 * @throws {UpdateError} when the server refuses, or signs its answer with another key
 */
export async function updateTxt(change: TxtChange, options: UpdateOptions): Promise<void> {
  const { address, port } = options;
  const { message, mac } = signed(encodeUpdate(change, options), options);
  const conn = await Deno.connect({ hostname: address, port });
  const timer = setTimeout(() => conn.close(), TIMEOUT);
  let answer: Uint8Array | undefined;
  try {
    await writeMessage(conn, message);
    answer = await readMessage(conn);
    conn.close();
  } finally {
    clearTimeout(timer);
  }
  if (answer === undefined) throw new UpdateError("the name server closed the connection");
  checkAnswer(answer, { request: message, requestMac: mac, key: options.key });
}

function encodeUpdate({ name, text, present }: TxtChange, { zone }: UpdateOptions): Uint8Array {
  const id = crypto.getRandomValues(new Uint8Array(2));
  const value = new TextEncoder().encode(text);
  const data = concat(Uint8Array.of(value.length), value);
  return concat(
    id,
    u16(UPDATE),
    // One zone, no prerequisites, one change, one additional record: the signature.
    ...[1, 0, 1, 0].map(u16),
    encodeName(zone),
    u16(SOA),
    u16(IN),
    encodeName(name),
    u16(TXT),
    u16(present ? IN : NONE),
    u32(present ? TTL : 0),
    u16(data.length),
    data,
  );
}

/** Adds the TSIG record (RFC 8945 §4.2, §4.3). */
function signed(
  message: Uint8Array,
  { key, now }: Pick<UpdateOptions, "key" | "now">,
): { message: Uint8Array; mac: Uint8Array } {
  const seconds = Math.floor(now() / 1000);
  const name = encodeName(key.name.toLowerCase());
  const time = concat(u16(Math.floor(seconds / 2 ** 32)), u32(seconds % 2 ** 32), u16(FUDGE));
  const algorithm = encodeName(ALGORITHM);
  const variables = concat(name, u16(ANY), u32(0), algorithm, time, u16(0), u16(0));
  const mac = hmac(key, message, variables);
  const data = concat(algorithm, time, u16(mac.length), mac, message.subarray(0, 2), u16(0), u16(0));
  const whole = concat(message, name, u16(TSIG), u16(ANY), u32(0), u16(data.length), data);
  whole.set(u16(1), 10);
  return { message: whole, mac };
}

function checkAnswer(
  answer: Uint8Array,
  { request, requestMac, key }: { request: Uint8Array; requestMac: Uint8Array; key: TsigKey },
): void {
  if (answer.length < HEADER || answer[0] !== request[0] || answer[1] !== request[1]) {
    throw new UpdateError("the name server's answer is malformed");
  }
  const rcode = (answer[3] ?? 0) & 15;
  if (rcode !== 0) {
    throw new UpdateError(`the name server refused the update: ${RCODES[rcode] ?? `code ${rcode}`}`);
  }
  const tsig = findTsig(answer, key);
  if (tsig === undefined) throw new UpdateError("the name server's answer is not signed with the key");
  const { start, algorithm, rest } = tsig;
  const time = rest.subarray(0, 8);
  const size = (rest[8] ?? 0) << 8 | (rest[9] ?? 0);
  const mac = rest.subarray(10, 10 + size);
  const [original, error, otherSize] = [0, 2, 4].map((at) => rest.subarray(10 + size + at, 12 + size + at));
  const bare = answer.slice(0, start);
  bare.set(original ?? new Uint8Array(), 0);
  bare.set(u16(((answer[10] ?? 0) << 8 | (answer[11] ?? 0)) - 1), 10);
  const variables = concat(
    encodeName(key.name.toLowerCase()),
    u16(ANY),
    u32(0),
    algorithm,
    time,
    error ?? new Uint8Array(),
    otherSize ?? new Uint8Array(),
  );
  const expected = hmac(key, u16(requestMac.length), requestMac, bare, variables);
  if (mac.length !== MAC_LENGTH || !timingSafeEqual(mac, expected)) {
    throw new UpdateError("the name server's answer is signed with another key");
  }
}

/** The last record, if it is a signature by this key and algorithm: where it begins, and what follows its names. */
function findTsig(
  answer: Uint8Array,
  key: TsigKey,
): { start: number; algorithm: Uint8Array; rest: Uint8Array } | undefined {
  const algorithm = encodeName(ALGORITHM);
  const head = concat(encodeName(key.name.toLowerCase()), u16(TSIG), u16(ANY), u32(0));
  // Names in it are never compressed (RFC 8945 §4.2), so it can be found from its end on.
  const start = lastIndexOf(answer, head);
  if (start < HEADER) return undefined;
  const data = answer.subarray(start + head.length + 2);
  if (!algorithm.every((byte, at) => lower(data[at]) === byte)) return undefined;
  return { start, algorithm, rest: data.subarray(algorithm.length) };
}

function lastIndexOf(bytes: Uint8Array, wanted: Uint8Array): number {
  for (let at = bytes.length - wanted.length; at >= 0; at--) {
    if (wanted.every((byte, index) => lower(bytes[at + index]) === byte)) return at;
  }
  return -1;
}

const lower = (byte = 0) => byte >= 0x41 && byte <= 0x5a ? byte + 32 : byte;

function hmac({ secret }: TsigKey, ...parts: readonly Uint8Array[]): Uint8Array {
  const hash = createHmac("sha256", secret);
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** A name as labels, ASCII, not compressed. */
function encodeName(name: string): Uint8Array {
  const labels = name.replace(/\.$/, "").split(".");
  const encoder = new TextEncoder();
  return concat(
    ...labels.flatMap((label) => {
      const bytes = encoder.encode(label);
      if (bytes.length === 0 || bytes.length > 63) throw new UpdateError(`${name} is not a domain name`);
      return [Uint8Array.of(bytes.length), bytes];
    }),
    Uint8Array.of(0),
  );
}

const u16 = (value: number) => Uint8Array.of(value >> 8 & 255, value & 255);
const u32 = (value: number) => concat(u16(Math.floor(value / 65536)), u16(value % 65536));

/** Answers DNS-01 (RFC 8555 §8.4) by records in a zone. */
export class DnsResponder implements Responder {
  readonly #options: UpdateOptions;

  /** Makes no change yet. */
  constructor(options: UpdateOptions) {
    this.#options = options;
  }

  async respond({ name, keyAuthorization }: Challenge): Promise<AsyncDisposable> {
    const record = { name: `_acme-challenge.${name}`, text: keyAuthorization };
    await updateTxt({ ...record, present: true }, this.#options);
    return {
      [Symbol.asyncDispose]: () => updateTxt({ ...record, present: false }, this.#options),
    };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}
