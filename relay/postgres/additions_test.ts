// Messages that were refused while it was unknown whether they are stored, and what becomes of them.
import assert from "node:assert/strict";
import { FakeClock } from "../../tests/support/fake_clock.ts";
import { newEntry, recipient } from "../../tests/support/queue_entry.ts";
import { Additions } from "./additions.ts";
import { type Database, DatabaseError } from "./database.ts";

const gone = () => new DatabaseError(new Error("gone"), { isCertain: false });
const locked = () =>
  new DatabaseError(Object.assign(new Error("locked"), { code: "55P03" }), { isCertain: true });

/** Messages that are in doubt, and a database that answers statements by what it is given, then takes all of them. */
async function inDoubt(ids: readonly string[]) {
  const clock = new FakeClock();
  const answers: (() => Error)[] = [];
  let away = true;
  let statements = 0;
  const run = () => {
    statements++;
    const error = away ? gone() : answers.shift()?.();
    return error === undefined ? Promise.resolve({ count: 1 }) : Promise.reject(error);
  };
  const withdrawn: string[] = [];
  const additions = new Additions({ run } as unknown as Database, {
    clock,
    needsStandby: false,
    withdrawn: (id) => void withdrawn.push(id),
  });
  const stored = Promise.allSettled(ids.map((id) =>
    additions.store({
      entry: newEntry([recipient("a@one.test")], { id }),
      body: { check: "", remember: false, isRetried: false, parts: async function* () {} },
      owner: "1",
      offset: 0,
    })
  ));
  await clock.advance(70_000);
  assert.deepEqual((await stored).map(({ status }) => status), ids.map(() => "rejected"));
  assert.deepEqual(ids.filter((id) => additions.isInDoubt(id)), ids);
  away = false;
  statements = 0;
  return {
    withdrawn,
    /** Withdraws once; the first statements fail so. Tells how many there were. */
    withdraw: async (...errors: (() => Error)[]) => {
      answers.push(...errors);
      const before = statements;
      await additions.withdraw();
      answers.length = 0;
      return statements - before;
    },
    [Symbol.asyncDispose]: () => additions[Symbol.asyncDispose](),
  };
}

const IDS = Array.from({ length: 7 }, (_, index) => `m${index}`);

Deno.test("Additions withdraws the others while one is locked, but none where many are, or the database is away", async () => {
  await using doubt = await inDoubt(IDS);
  assert.equal(await doubt.withdraw(gone), 1);
  assert.equal(await doubt.withdraw(...IDS.map(() => locked)), 5);
  assert.deepEqual(doubt.withdrawn, []);
  assert.equal(await doubt.withdraw(locked), IDS.length);
  assert.deepEqual(doubt.withdrawn, IDS.slice(1));
  await doubt.withdraw();
  assert.deepEqual(doubt.withdrawn, [...IDS.slice(1), "m0"]);
});
