import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
// @ts-types="./dns_packet.d.ts"
import dnsPacket from "dns-packet";
import { fc } from "../tests/support/property.ts";
import { encodeQuery, type Query, randomId, readNegative } from "./query_message.ts";
import { decodeAnswer, interpretAnswer } from "./wire_answer.ts";

const letters = (alphabet: string, maxLength = 63) =>
  fc.array(fc.constantFrom(...alphabet), { minLength: 1, maxLength }).map((parts) => parts.join(""));
const label = fc.oneof(
  letters("abcdefghijklmnopqrstuvwxyz0123456789-_"),
  letters("abc!#$%&'*+/=?^`{|}~@ \"\\(),:;<>[]", 20),
);
const name = fc.array(label, { minLength: 1, maxLength: 6 }).map((labels) => labels.join("."))
  .filter((name) => name.length <= 253);
const type = fc.constantFrom(...["MX", "A", "AAAA", "TXT", "PTR", "CNAME", "TLSA"] as const);
const query: fc.Arbitrary<Query> = fc.record({ name, type });
const id = fc.nat(65_535);

Deno.test("encodeQuery() makes what dns-packet makes", () => {
  fc.assert(fc.property(query, id, fc.boolean(), (query, id, edns) => {
    const expected = dnsPacket.encode({
      id,
      type: "query",
      flags: 1 << 8 | 1 << 5,
      questions: [query],
      additionals: edns ? [{ type: "OPT", name: ".", udpPayloadSize: 1232, flags: 0, options: [] }] : [],
    });
    assert.deepEqual(Buffer.from(encodeQuery(query, { id, edns })), Buffer.from(expected));
  }));
});

interface Negative {
  readonly flags: number;
  readonly soa: number;
  readonly ttl: number;
  readonly minimum: number;
  readonly opt: boolean;
  readonly answers: number;
  readonly upper: boolean;
}

/** Answers of which most are negative. */
const negative: fc.Arbitrary<Negative> = fc.record({
  flags: fc.record({
    aa: fc.boolean(),
    ra: fc.boolean(),
    ad: fc.boolean(),
    rcode: fc.constantFrom(0, 3, 2, 5),
  })
    .map(({ aa, ra, ad, rcode }) => (aa ? 1 << 10 : 0) | (ra ? 1 << 7 : 0) | (ad ? 1 << 5 : 0) | rcode),
  soa: fc.constantFrom(0, 1, 1, 1, 2),
  ttl: fc.nat(2 ** 31),
  minimum: fc.nat(2 ** 31),
  opt: fc.boolean(),
  answers: fc.constantFrom(0, 0, 0, 1),
  upper: fc.constantFrom(false, false, false, true),
});

function answerTo(query: Query, id: number, one: Negative): Uint8Array<ArrayBuffer> {
  const { name } = query;
  const data = { mname: "ns.test", rname: "hostmaster.test", minimum: one.minimum };
  const soa = { type: "SOA", name: name.slice(name.indexOf(".") + 1), ttl: one.ttl };
  const whole = { ...data, serial: 1, refresh: 2, retry: 3, expire: 4 };
  return new Uint8Array(dnsPacket.encode({
    id,
    type: "response",
    flags: one.flags,
    questions: [one.upper ? { ...query, name: name.toUpperCase() } : query],
    answers: Array(one.answers).fill({ type: "CNAME", name, ttl: 5, data: "b.test" }),
    authorities: Array(one.soa).fill({ ...soa, data: whole }),
    additionals: one.opt ? [{ type: "OPT", name: ".", udpPayloadSize: 4096, flags: 0, options: [] }] : [],
  }));
}

/** What dns-packet makes of it, without any shorter way. */
function decoded(bytes: Uint8Array, query: Query) {
  try {
    return interpretAnswer(dnsPacket.decode(Buffer.from(bytes)), query);
  } catch {
    return undefined;
  }
}

Deno.test("readNegative() reads what dns-packet would, and leaves the rest to it", () => {
  let read = 0;
  fc.assert(
    fc.property(query, id, negative, (query, id, one) => {
      const bytes = answerTo(query, id, one);
      const packet = readNegative(bytes, query, id);
      const isPlain = one.answers === 0 && one.soa <= 1 && [0, 3].includes(one.flags & 15) &&
        (!one.upper || query.name.toUpperCase() === query.name);
      assert.equal(packet !== undefined, isPlain);
      if (packet === undefined) return;
      read++;
      assert.deepEqual(interpretAnswer(packet, query), decoded(bytes, query));
      assert.equal(packet.additionals.length, one.opt ? 1 : 0);
      assert.equal(readNegative(bytes, query, (id + 1) & 0xffff), undefined);
      assert.equal(readNegative(bytes, { ...query, name: `x${query.name.slice(1)}y` }, id), undefined);
      assert.equal(readNegative(bytes, { ...query, type: query.type === "A" ? "MX" : "A" }, id), undefined);
    }),
    { numRuns: 500 },
  );
  assert.ok(read > 50);
});

Deno.test("readNegative() takes no message that is cut, longer, or changed for another answer than dns-packet", () => {
  fc.assert(
    fc.property(query, id, negative, fc.nat(), fc.nat(255), (query, id, one, place, octet) => {
      const bytes = answerTo(query, id, one);
      if (readNegative(bytes, query, id) === undefined) return;
      for (let size = 0; size < bytes.length; size++) {
        assert.equal(readNegative(bytes.subarray(0, size), query, id), undefined);
      }
      assert.equal(readNegative(Uint8Array.of(...bytes, 0), query, id), undefined);
      const changed = bytes.slice();
      changed[place % bytes.length] = octet;
      const packet = readNegative(changed, query, id);
      if (packet === undefined) return;
      const answer = interpretAnswer(packet, query);
      assert.notEqual(answer.kind, "found");
      // What is wrong only in a name that nobody needs is not seen here.
      const other = decoded(changed, query);
      if (other !== undefined) assert.deepEqual(answer, other);
    }),
    { numRuns: 300 },
  );
});

Deno.test("decodeAnswer() says of an extended error what the whole decoder says", () => {
  const query = { name: "a.test", type: "TXT" } as const;
  const bytes = answerTo(query, 7, {
    ...{ flags: 1 << 7, soa: 0, ttl: 0, minimum: 0, opt: true, answers: 0, upper: false },
  });
  // The upper bits of the response code: BADVERS.
  bytes[bytes.length - 6] = 1;
  const packet = decodeAnswer(bytes, query, 7);
  assert.deepEqual(packet && interpretAnswer(packet, query), { kind: "failed", reason: "BADVERS" });
});

Deno.test("randomId() gives ids of all sizes, none twice as often as chance has it", () => {
  const drawn = Array.from({ length: 10_000 }, randomId);
  assert.ok(drawn.every((id) => Number.isInteger(id) && id >= 0 && id <= 65_535));
  // Of 65,536, about 9,270 different ones are to be expected.
  assert.ok(new Set(drawn).size > 9_000);
});
