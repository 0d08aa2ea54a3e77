import assert from "node:assert/strict";
import { Batches } from "./batches.ts";
import { DatabaseError } from "./database.ts";

/** Batches whose statements are answered by hand. */
function byHand(octets?: (item: number) => number) {
  const statements: { readonly items: readonly number[]; answer: (error?: Error) => void }[] = [];
  const batches = new Batches<number, number>({
    run: (items) =>
      new Promise((resolve, reject) => {
        statements.push({
          items,
          answer: (error) => error === undefined ? resolve(items.map((item) => 10 * item)) : reject(error),
        });
      }),
    ...octets && { octets },
  });
  return { batches, statements };
}

const turn = () => new Promise<void>((resolve) => setTimeout(resolve, 0));

Deno.test("Batches runs at once what is alone, and together what came meanwhile", async () => {
  const { batches, statements } = byHand();
  const results = Promise.all([1, 2, 3, 4].map((item) => batches.run(item)));
  assert.deepEqual(statements.map(({ items }) => items), [[1]]);
  statements[0]?.answer();
  await turn();
  assert.deepEqual(statements[1]?.items, [2, 3, 4]);
  statements[1]?.answer();
  assert.deepEqual(await results, [10, 20, 30, 40]);
  void batches.run(5);
  assert.deepEqual(statements[2]?.items, [5]);
});

Deno.test("Batches bounds a statement by items and by octets; what is larger goes alone", async () => {
  const { batches, statements } = byHand((item) => item);
  const items = [0, 3_000_000, 500_000, 500_000, 100_000, ...Array<number>(150).fill(1)];
  const results = Promise.all(items.map((item) => batches.run(item)));
  for (let at = 0; at < statements.length; at++) {
    statements[at]?.answer();
    await turn();
  }
  assert.deepEqual(await results, items.map((item) => 10 * item));
  assert.deepEqual(statements.map(({ items }) => items.length), [1, 1, 2, 100, 51]);
});

Deno.test("Batches tries each alone where one may be at fault, and none again where the database is", async () => {
  const { batches, statements } = byHand();
  const answers: (Error | undefined)[] = [
    undefined,
    // What 2, 3 and 4 get together, then each of them.
    new Error("a value that it does not take"),
    undefined,
    new Error("this one"),
    undefined,
    new DatabaseError(new Error("gone"), { isCertain: false }),
  ];
  const results = [1, 2, 3, 4].map((item) => batches.run(item));
  for (const promise of results) promise.catch(() => {});
  for (const [at, answer] of answers.entries()) {
    if (at === 4) {
      for (const item of [5, 6]) {
        const result = batches.run(item);
        result.catch(() => {});
        results.push(result);
      }
    }
    statements[at]?.answer(answer);
    await turn();
  }
  assert.deepEqual(statements.map(({ items }) => items), [[1], [2, 3, 4], [2], [3], [4], [5, 6]]);
  assert.deepEqual((await Promise.allSettled(results)).map(({ status }) => status), [
    "fulfilled",
    "fulfilled",
    "rejected",
    "fulfilled",
    "rejected",
    "rejected",
  ]);
});

Deno.test("Batches waits for a few locked ones only, and for none once the database is away", async () => {
  const lock = () =>
    new DatabaseError(Object.assign(new Error("locked"), { code: "55P03" }), { isCertain: true });
  const gone = () => new DatabaseError(new Error("gone"), { isCertain: false });
  for (
    const { answers, tried } of [
      // One is locked, and the others are not.
      { answers: [lock, undefined, lock], tried: 20 },
      // So is the table.
      { answers: Array<typeof lock>(30).fill(lock), tried: 5 },
      { answers: [lock, lock, gone], tried: 2 },
    ]
  ) {
    const { batches, statements } = byHand();
    const results = Array.from({ length: 21 }, (_, item) => batches.run(item));
    const settled = Promise.allSettled(results);
    statements[0]?.answer();
    await turn();
    for (let at = 1; at < statements.length; at++) {
      statements[at]?.answer(answers[at - 1]?.());
      await turn();
    }
    await settled;
    assert.deepEqual(statements.map(({ items }) => items.length), [1, 20, ...Array<number>(tried).fill(1)]);
  }
});
