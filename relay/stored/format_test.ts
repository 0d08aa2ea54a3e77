import assert from "node:assert/strict";
import { fc } from "../../tests/support/property.ts";
import type { Attempt, QueueEntry, QueueRecipient } from "../queue_entry.ts";
import {
  decodeHead,
  decodeRecord,
  decodeState,
  encodeHead,
  encodeRecord,
  encodeState,
  isQueueId,
  type JournalRecord,
} from "./format.ts";
import { isSealed, seal } from "./seal.ts";
import { SpoolFormatError } from "./format_values.ts";

const ID = "0abcdefgh12345678";
const text = fc.string({ unit: "grapheme", maxLength: 30 });
const time = fc.nat(2 ** 31);
const attempt: fc.Arbitrary<Attempt> = fc.record({
  at: time,
  host: text,
  address: text,
  tls: fc.constantFrom("none", "unverified", "verified", "dane"),
  reply: text,
  error: text,
  status: text,
  dotSentNoReply: fc.boolean(),
}, { requiredKeys: ["at", "host", "status"] });
const recipient: fc.Arbitrary<QueueRecipient> = fc.record({
  address: text.map((localPart) => `${localPart}@one.test`),
  domain: text.map((label) => `${label}.test`),
  notify: fc.subarray(["SUCCESS", "FAILURE", "DELAY"] as const),
  originalRecipient: fc.record({ type: text, address: text }),
  status: fc.constantFrom("pending", "held", "relayed", "failed", "expired", "removed"),
  attemptCount: fc.nat(100),
  attempts: fc.array(attempt, { maxLength: 10 }),
  nextAttemptAt: time,
  delayNotified: fc.boolean(),
  settled: fc.boolean(),
  notice: fc.constant("0notice0001"),
}, {
  requiredKeys: [
    "address",
    "domain",
    "status",
    "attemptCount",
    "attempts",
    "nextAttemptAt",
    "delayNotified",
    "settled",
  ],
});
const entry: fc.Arbitrary<QueueEntry> = fc.record({
  id: fc.constant(ID),
  acceptedAt: time,
  reversePath: text,
  dsn: fc.record({ ret: fc.constantFrom("FULL", "HDRS"), envelopeId: text }, { requiredKeys: [] }),
  body: fc.constantFrom("7BIT", "8BITMIME"),
  smtputf8: fc.boolean(),
  size: fc.nat(),
  content: fc.record({ eightBitHeader: fc.boolean(), eightBitBody: fc.boolean() }),
  recipients: fc.array(recipient, { minLength: 1, maxLength: 4 }),
}, {
  requiredKeys: ["id", "acceptedAt", "reversePath", "body", "smtputf8", "size", "content", "recipients"],
});
const indices = fc.array(fc.nat(1000), { minLength: 1, maxLength: 5 });
const journalRecord: fc.Arbitrary<JournalRecord> = fc.oneof(
  fc.record({
    type: fc.constant("dotSent" as const),
    id: fc.constant(ID),
    recipients: indices,
    host: text,
    address: text,
    at: time,
  }),
  fc.record({
    type: fc.constant("dotAnswered" as const),
    id: fc.constant(ID),
    recipients: indices,
    relayed: fc.boolean(),
  }),
  fc.record({ type: fc.constant("removed" as const), id: fc.constant(ID) }),
);

const bare = (value: unknown) => JSON.parse(JSON.stringify(value));
const damaged = { name: "SpoolFormatError" };

/** The text with one bit of its UTF-8 flipped; what is not UTF-8 any more is found before it is parsed. */
function flip(text: string, bit: number): string | undefined {
  const bytes = new TextEncoder().encode(text);
  const at = (bit >> 3) % bytes.length;
  bytes[at] = (bytes[at] ?? 0) ^ (1 << (bit & 7));
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

Deno.test("decodeHead() gives back what encodeHead() was given, on one line", () => {
  fc.assert(fc.property(entry, (entry) => {
    const line = encodeHead(entry, "0123abcd");
    assert.equal(line.indexOf("\n"), line.length - 1);
    const head = decodeHead(line.slice(0, -1), ID);
    assert.deepEqual(bare(head), bare({ entry, messageCheck: "0123abcd" }));
  }));
});

Deno.test("decodeHead() finds every flipped bit and every cut", () => {
  fc.assert(fc.property(entry, fc.nat(), (entry, at) => {
    const line = encodeHead(entry, "0123abcd").slice(0, -1);
    const flipped = flip(line, at);
    if (flipped !== undefined) assert.throws(() => decodeHead(flipped, ID), damaged);
    assert.throws(() => decodeHead(line.slice(0, at % line.length), ID), damaged);
  }));
});

Deno.test("decodeHead() takes a head that was edited by hand, with the checks taken out", () => {
  const [sample] = fc.sample(entry, { numRuns: 1, seed: 1 });
  assert.ok(sample);
  const line = encodeHead({ ...sample, reversePath: "a@b" }, "0123abcd");
  const edited = line.replace('"a@b"', '"c@d"').replace(/,"message":"\w+","check":"\w+"/, "");
  const head = decodeHead(edited, ID);
  assert.equal(head.entry.reversePath, "c@d");
  assert.equal(head.messageCheck, undefined);
});

Deno.test("decodeHead() and decodeState() refuse what was edited into no date, and recipients without a domain", () => {
  const [sample] = fc.sample(entry, { numRuns: 1, seed: 1 });
  assert.ok(sample);
  const [first] = sample.recipients;
  assert.ok(first);
  const at = Date.UTC(2026, 10, 30);
  const attempts = [{ at, host: "mx.one.test", status: "4.4.1" }];
  const one = { ...first, address: "b@one.test", domain: "one.test", nextAttemptAt: at, attempts };
  const whole: QueueEntry = { ...sample, acceptedAt: at, recipients: [one] };
  const open = (text: string) => text.replace(/,\s*"check":\s*"\w+"/, "").trimEnd();
  const head = open(encodeHead(whole, "0123abcd"));
  assert.deepEqual(decodeHead(head, ID).entry.recipients[0]?.attempts, attempts);
  for (
    const [from, to] of [
      [`"acceptedAt":${at}`, '"acceptedAt":253402300800000'],
      [`"nextAttemptAt":${at}`, '"nextAttemptAt":9007199254740991'],
      [`"at":${at}`, '"at":8640000000000001'],
      ['"address":"b@one.test"', '"address":""'],
      ['"address":"b@one.test"', '"address":"b"'],
      ['"domain":"one.test"', '"domain":""'],
    ] as const
  ) {
    assert.ok(head.includes(from));
    assert.throws(() => decodeHead(head.replace(from, to), ID), damaged, to);
  }
  const state = open(encodeState(whole));
  for (const name of ["nextAttemptAt", "at"]) {
    const late = state.replace(`"${name}": ${at}`, `"${name}": 9007199254740991`);
    assert.notEqual(late, state);
    assert.throws(() => decodeState(late, structuredClone(whole)), damaged);
  }
});

Deno.test("decodeHead() refuses what is not of this version, or of another file", () => {
  const [sample] = fc.sample(entry, { numRuns: 1, seed: 1 });
  assert.ok(sample);
  const line = encodeHead(sample, "0123abcd").replace(/,"check":"\w+"/, "");
  assert.throws(() => decodeHead(line.replace('"mailapp":1', '"mailapp":2'), ID), /unknown version 2/);
  assert.throws(() => decodeHead(line.replace('"mailapp":1,', ""), ID), /no version/);
  assert.throws(() => decodeHead(line, "0anotherid"), /not the file's name/);
  for (const odd of ["", "null", "[]", "1", '"x"', "{}", '{"mailapp":1}']) {
    assert.throws(() => decodeHead(odd, ID), damaged, odd);
  }
});

Deno.test("decodeHead() throws nothing but SpoolFormatError, whatever it is given", () => {
  fc.assert(fc.property(fc.oneof(fc.json(), fc.string()), (text) => {
    try {
      decodeHead(text, ID);
    } catch (error) {
      assert.ok(error instanceof SpoolFormatError);
    }
  }));
});

Deno.test("decodeState() gives back what encodeState() was given", () => {
  fc.assert(fc.property(entry, (entry) => {
    const fresh = decodeHead(encodeHead(entry, "0123abcd"), ID).entry;
    for (const recipient of fresh.recipients) {
      Object.assign(recipient, { status: "pending", attempts: [], attemptCount: 0, notice: "0older00" });
    }
    decodeState(encodeState(entry), fresh);
    assert.deepEqual(bare(fresh), bare(entry));
  }));
});

Deno.test("decodeState() finds every flipped bit and every cut, and changes nothing then", () => {
  fc.assert(fc.property(entry, fc.nat(), (entry, at) => {
    const before = bare(entry);
    const text = encodeState(entry);
    const flipped = flip(text, at);
    // White space after the last brace says nothing.
    if (flipped !== undefined && flipped.trimEnd() !== text.trimEnd()) {
      assert.throws(() => decodeState(flipped, entry), damaged);
    }
    assert.throws(() => decodeState(text.slice(0, at % (text.length - 1)), entry), damaged);
    assert.deepEqual(bare(entry), before);
  }));
});

Deno.test("decodeState() refuses the state of other recipients", () => {
  const [one, two] = fc.sample(entry, { numRuns: 2, seed: 3 });
  assert.ok(one && two);
  one.recipients.splice(1);
  const other = structuredClone(one);
  other.recipients.forEach((recipient) => Object.assign(recipient, { address: "other@x" }));
  assert.throws(() => decodeState(encodeState(other), one), /not the recipients/);
  const more = structuredClone(one);
  more.recipients.push(...structuredClone(one.recipients));
  assert.throws(() => decodeState(encodeState(more), one), /not the recipients/);
});

Deno.test("decodeRecord() gives back what encodeRecord() was given, and finds damage", () => {
  fc.assert(fc.property(journalRecord, fc.nat(), (record, at) => {
    const line = encodeRecord(record);
    assert.equal(line.indexOf("\n"), line.length - 1);
    assert.deepEqual(decodeRecord(line.slice(0, -1)), bare(record));
    const flipped = flip(line.slice(0, -1), at);
    if (flipped !== undefined) assert.throws(() => decodeRecord(flipped), damaged);
    assert.throws(() => decodeRecord(line.slice(0, at % (line.length - 1))), damaged);
  }));
});

Deno.test("isQueueId() takes nothing that could be a path", () => {
  assert.equal(isQueueId(ID), true);
  for (
    const odd of [
      "",
      "short",
      "../../etc/passwd",
      "0abcdefg/1",
      "0ABCDEFGH",
      "0abcdefg\n",
      "0abcdefgé",
      "0".repeat(33),
    ]
  ) {
    assert.equal(isQueueId(odd), false, odd);
  }
});

Deno.test("isSealed() takes what seal() wrote, and nothing that was changed", () => {
  const text = seal({ id: "abc", domains: ["one.test"], at: 1 });
  assert.equal(isSealed(text), true);
  for (let at = 0; at < text.length; at++) {
    const flipped = text.slice(0, at) + String.fromCharCode(text.charCodeAt(at) ^ 1) + text.slice(at + 1);
    assert.equal(isSealed(flipped), false, flipped);
    assert.equal(isSealed(text.slice(0, at)), false);
  }
  for (
    const other of [`${text}x`, `x${text}`, '{"id":"abc"}', '{"check":"00000000"}', ',"check":"00000000"}']
  ) {
    assert.equal(isSealed(other), false, other);
  }
});
