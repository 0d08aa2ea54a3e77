import assert from "node:assert/strict";
import type { RecipientResult, Stage } from "./send_result.ts";
import { inTransactions } from "./transactions.ts";

const refused = (stage: Stage, code: number, enhanced?: string): RecipientResult => ({
  kind: "refused",
  stage,
  reply: { code, lines: ["no"], ...(enhanced !== undefined && { enhanced: enhanced as "4.5.3" }) },
});
const RELAYED: RecipientResult = { kind: "relayed", reply: { code: 250, lines: ["yes"] } };

/** A server that takes `most` of the recipients of each transaction, and says this to the others. */
async function send(
  count: number,
  { most, then, limit = 100 }: { most: number; then: RecipientResult; limit?: number },
) {
  const batches: number[] = [];
  const ends = new Map<number, { result: RecipientResult; tooMany: boolean }>();
  const left = await inTransactions(Array.from({ length: count }, (_, index) => index), {
    limit,
    usable: () => batches.length < 20,
    transact: (batch) => {
      batches.push(batch.length);
      return Promise.resolve(batch.map((_, index) => index < most ? RELAYED : then));
    },
    settled: (recipient, end) => {
      assert.ok(!ends.has(recipient));
      ends.set(recipient, end);
    },
  });
  const relayed = [...ends.values()].filter(({ result }) => result === RELAYED).length;
  return { batches, relayed, left: left.length, ends };
}

Deno.test("inTransactions() sends again to those for whom a server had too many", async () => {
  for (
    const then of [
      refused("rcpt", 452, "4.5.3"),
      refused("rcpt", 452),
      refused("rcpt", 552),
      refused("rcpt", 550, "5.5.3"),
    ]
  ) {
    const { batches, relayed, left } = await send(70, { most: 30, then });
    assert.deepEqual([batches, relayed, left], [[70, 40, 10], 70, 0]);
  }
  assert.deepEqual((await send(250, { most: Infinity, then: RELAYED, limit: 100 })).batches, [100, 100, 50]);
});

Deno.test("inTransactions() takes any other refusal for what it is, and ends with the connection", async () => {
  for (
    const then of [
      refused("rcpt", 452, "4.2.2"),
      refused("rcpt", 550, "5.1.1"),
      refused("mail", 452, "4.5.3"),
    ]
  ) {
    const { batches, relayed, ends } = await send(70, { most: 30, then });
    assert.deepEqual([batches, relayed, ends.size], [[70], 30, 70]);
  }
  const none = await send(70, { most: 0, then: refused("rcpt", 452, "4.5.3") });
  assert.deepEqual([none.batches, none.ends.size], [[70], 70]);
  const slow = await send(70, { most: 1, then: refused("rcpt", 452, "4.5.3") });
  assert.deepEqual([slow.batches.length, slow.relayed, slow.left], [20, 20, 50]);
});
