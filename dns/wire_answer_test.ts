import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { assertLinear, countedBytes } from "../tests/support/counted.ts";
import { decodeAnswer, hasLongPointerChain } from "./wire_answer.ts";

/** An answer to `a MX` whose records, this many, all begin at the end of a chain of this many pointers. */
function chained(records: number, links: number): Uint8Array {
  const header = Buffer.alloc(12);
  for (const [i, value] of [1, 0x8180, 1, records + 1, 0, 0].entries()) header.writeUInt16BE(value, 2 * i);
  const question = Buffer.from([1, 97, 0, 0, 15, 0, 1]);
  const start = header.length + question.length + 12;
  const pointer = (target: number) => Buffer.from([0xc0 | target >> 8, target & 0xff]);
  const chain = Array.from({ length: links }, (_, i) => pointer(i === 0 ? 12 : start + 2 * (i - 1)));
  const size = 2 * links;
  const holder = [pointer(12), Buffer.from([0xff, 0x10, 0, 1, 0, 0, 0, 60, size >> 8, size & 0xff])];
  const end = pointer(links === 0 ? 12 : start + 2 * (links - 1));
  const record = Buffer.concat([end, Buffer.from([0, 15, 0, 1, 0, 0, 0, 60, 0, 4, 0, 10]), end]);
  return Buffer.concat([header, question, ...holder, ...chain, ...Array(records).fill(record)]);
}

const QUERY = { name: "a", type: "MX" } as const;

Deno.test("decodeAnswer() refuses a message that would take long to decode", () => {
  for (const links of [0, 1, 30]) {
    assert.equal(decodeAnswer(chained(100, links), QUERY, 1)?.answers.length, 101, String(links));
  }
  for (const links of [33, 100, 8_000]) assert.equal(decodeAnswer(chained(100, links), QUERY, 1), undefined);
  assert.equal(decodeAnswer(chained(100, 1), QUERY, 2), undefined);
});

Deno.test("hasLongPointerChain() takes random data for what it is", () => {
  const random = new Uint8Array(60_000);
  // A linear congruential generator with a fixed seed.
  let state = 12_345;
  for (const i of random.keys()) random[i] = (state = (state * 1_103_515 + 12_345) % 2_147_483_648) >> 16;
  assert.equal(hasLongPointerChain(random), false);
  for (const size of [0, 1, 12]) assert.equal(hasLongPointerChain(new Uint8Array(size)), false);
});

Deno.test("hasLongPointerChain() looks at each octet no more than twice", () => {
  assertLinear((count) => {
    // Pointers that lead to the label at the beginning, each by itself.
    const { input, steps } = countedBytes(
      Uint8Array.from({ length: 2 * count }, (_, i) => i % 2 === 0 ? 0xc0 : 0),
    );
    assert.equal(hasLongPointerChain(input), false);
    return steps();
  });
});
