// Whatever a DNS server sends, it is an answer or it is ignored, in bounded time, and its names stay names.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
// @ts-types="../../dns/dns_packet.d.ts"
import dnsPacket from "dns-packet";
import { fc } from "../support/property.ts";
import { decodeAnswer, interpretAnswer, type Query, type RecordType } from "../../dns/wire_answer.ts";

const NAMES = ["d.test", "e.test", "f.test", ".", "D.TEST", "a b.test", "x".repeat(63) + ".test"];
const TYPES: readonly RecordType[] = ["MX", "A", "AAAA", "TXT", "PTR", "CNAME", "TLSA"];

const name = fc.constantFrom(...NAMES);
const record = fc.oneof(
  fc.record({ name, type: fc.constant("CNAME"), ttl: fc.nat(), data: name }),
  fc.record({
    name,
    type: fc.constant("MX"),
    ttl: fc.nat(),
    data: fc.record({ preference: fc.nat(65535), exchange: name }),
  }),
  fc.record({ name, type: fc.constant("A"), ttl: fc.nat(), data: fc.constant("192.0.2.1") }),
  fc.record({
    name,
    type: fc.constant("TXT"),
    ttl: fc.nat(),
    data: fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
  }),
  fc.record({ name, type: fc.constant("NS"), ttl: fc.nat(), data: name }),
);
const message = fc.record({
  rcode: fc.nat(15),
  flags: fc.constantFrom(0, 1 << 10, 1 << 7, 1 << 10 | 1 << 7, 1 << 9, 1 << 5),
  answers: fc.array(record, { maxLength: 12 }),
  authorities: fc.array(record, { maxLength: 3 }),
});
const query = fc.record({ name: fc.constantFrom("d.test", "e.test"), type: fc.constantFrom(...TYPES) });

function encoded(
  { rcode, flags, answers, authorities }: {
    rcode: number;
    flags: number;
    answers: readonly never[];
    authorities: readonly never[];
  },
  asked: Query,
): Uint8Array {
  return dnsPacket.encode({
    id: 1,
    type: "response",
    flags: flags | rcode,
    questions: [asked],
    answers,
    authorities,
  });
}

function check(bytes: Uint8Array, asked: Query): void {
  const packet = decodeAnswer(bytes, asked, 1);
  if (packet === undefined) return;
  const answer = interpretAnswer(packet, asked);
  switch (answer.kind) {
    case "found":
      assert.ok(answer.records.length > 0);
      assert.ok(packet.rcode === "NOERROR" || packet.rcode === "NXDOMAIN");
      break;
    case "no-such-name":
      assert.equal(packet.rcode, "NXDOMAIN");
      assert.ok(packet.flag_aa || packet.flag_ra);
      break;
    case "none":
      assert.ok(packet.flag_aa || packet.flag_ra);
      break;
    case "failed":
      assert.notEqual(answer.reason, "");
  }
}

Deno.test("DNS answers of any content", () => {
  fc.assert(
    fc.property(message, query, (content, asked) => check(encoded(content as never, asked), asked)),
    { numRuns: 1000 },
  );
});

Deno.test("DNS answers with damaged bytes", () => {
  const damage = fc.array(fc.tuple(fc.nat(511), fc.nat(255)), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(message, query, damage, fc.nat(511), (content, asked, changes, length) => {
      const bytes = Uint8Array.from(encoded(content as never, asked));
      for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
      check(bytes, asked);
      check(bytes.subarray(0, length), asked);
    }),
    { numRuns: 1000 },
  );
});

Deno.test("DNS answers of random bytes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), query, (bytes, asked) => {
      check(bytes, asked);
      // Past the header, as an attacker would.
      const head = encoded({ rcode: 0, flags: 1 << 7, answers: [], authorities: [] }, asked);
      const whole = Uint8Array.of(...head, ...bytes);
      whole[7] = 3;
      check(whole, asked);
    }),
    { numRuns: 1000 },
  );
});
