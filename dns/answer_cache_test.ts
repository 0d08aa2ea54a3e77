import assert from "node:assert/strict";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { AnswerCache } from "./answer_cache.ts";

Deno.test("AnswerCache keeps an answer for as long as it says, and asks again then", async () => {
  const clock = new FakeClock();
  const cache = new AnswerCache<number>(clock);
  let asked = 0;
  const ask = () => Promise.resolve({ value: ++asked, keep: 1000 });
  assert.equal(await cache.get("a", ask), 1);
  await clock.advance(999);
  assert.equal(await cache.get("a", ask), 1);
  await clock.advance(1);
  assert.equal(cache.peek("a"), undefined);
  assert.equal(await cache.get("a", ask), 2);
  assert.equal(cache.peek("a"), 2);
});

Deno.test("AnswerCache does not keep what may not be kept", async () => {
  const cache = new AnswerCache<number>(new FakeClock());
  assert.equal(await cache.get("a", () => Promise.resolve({ value: 1, keep: 0 })), 1);
  assert.equal(cache.peek("a"), undefined);
});

Deno.test("AnswerCache asks a question once for all who ask it meanwhile", async () => {
  const cache = new AnswerCache<number>(new FakeClock());
  const { promise, resolve } = Promise.withResolvers<{ value: number; keep: number }>();
  let asked = 0;
  const ask = () => {
    asked++;
    return promise;
  };
  const answers = [cache.get("a", ask), cache.get("a", ask)];
  resolve({ value: 7, keep: 1000 });
  assert.deepEqual(await Promise.all(answers), [7, 7]);
  assert.equal(asked, 1);
});

Deno.test("AnswerCache forgets the oldest of more than 10,000 answers, and never the latest 5,000", async () => {
  const cache = new AnswerCache<number>(new FakeClock());
  const kept = () =>
    Array.from({ length: count }, (_, key) => key).filter((key) => cache.peek(`${key}`) === key);
  let count = 0;
  for (; count < 10_000; count++) {
    const value = count;
    await cache.get(`${count}`, () => Promise.resolve({ value, keep: 1000 }));
  }
  assert.equal(kept().length, 10_000);
  for (; count < 30_003; count++) {
    const value = count;
    await cache.get(`${count}`, () => Promise.resolve({ value, keep: 1000 }));
  }
  const left = kept();
  assert.ok(left.length <= 10_000, `${left.length} are kept`);
  assert.deepEqual(left.slice(-5000), Array.from({ length: 5000 }, (_, index) => 25_003 + index));
  const [first = NaN] = left;
  assert.deepEqual(left, Array.from({ length: count - first }, (_, index) => first + index));
});

Deno.test("AnswerCache keeps large answers in bounded memory, the latest in any case", async () => {
  const cache = new AnswerCache<{ readonly records: readonly string[] }>(new FakeClock());
  const KIB = 1024;
  const records = () => Array.from({ length: 100 }, (_, i) => String(i).padEnd(320, "x"));
  const count = 1500;
  for (let i = 0; i < count; i++) {
    await cache.get(
      `txt name${i}.example`,
      () => Promise.resolve({ value: { records: records() }, keep: 1000 }),
    );
  }
  const kept = Array.from({ length: count }, (_, i) => i).filter((i) =>
    cache.peek(`txt name${i}.example`) !== undefined
  );
  assert.ok(kept.length * 64 * KIB <= 32 * KIB * KIB, `${kept.length} answers of 64 KiB`);
  assert.ok(kept.length >= 200, String(kept.length));
  assert.equal(kept.at(-1), count - 1);
});

Deno.test("AnswerCache takes the latest of two answers", async () => {
  const clock = new FakeClock();
  const cache = new AnswerCache<number>(clock);
  const fill = async (from: number) => {
    for (let key = from; key < from + 5000; key++) {
      await cache.get(`${key}`, () => Promise.resolve({ value: key, keep: 1000 }));
    }
  };
  await cache.get("a", () => Promise.resolve({ value: 1, keep: 10 }));
  // The first answer is among the older ones when the second comes.
  await fill(0);
  await clock.advance(10);
  assert.equal(await cache.get("a", () => Promise.resolve({ value: 2, keep: 1000 })), 2);
  assert.equal(cache.peek("a"), 2);
});

Deno.test("AnswerCache keeps nothing of what was asked before it was cleared", async () => {
  const cache = new AnswerCache<number>(new FakeClock());
  for (let key = 0; key < 5001; key++) {
    await cache.get(`${key}`, () => Promise.resolve({ value: key, keep: 1000 }));
  }
  const first = Promise.withResolvers<{ value: number; keep: number }>();
  const second = Promise.withResolvers<{ value: number; keep: number }>();
  const early = cache.get("a", () => first.promise);
  cache.clear();
  const late = cache.get("a", () => second.promise);
  first.resolve({ value: 1, keep: 1000 });
  assert.equal(await early, 1);
  assert.equal(cache.peek("a"), undefined);
  assert.equal(cache.peek("0"), undefined);
  assert.equal(cache.peek("5000"), undefined);
  second.resolve({ value: 2, keep: 0 });
  assert.equal(await late, 2);
  assert.equal(cache.peek("a"), undefined);
});
