// Histories of two schedulers on one queue in a real PostgreSQL.
import assert from "node:assert/strict";
import { histories, History } from "../../tests/support/histories.ts";
import { PostgresHistoryQueue, STATEMENT_KINDS } from "../../tests/support/postgres_histories.ts";
import { testsWithPostgres } from "../../tests/support/postgres_server.ts";
import { fc } from "../../tests/support/property.ts";
import { TimedDatabase } from "../../tests/support/timed_database.ts";

/** How many histories; `MAILAPP_HISTORIES=10000` for the long form. */
const RUNS = Number(Deno.env.get("MAILAPP_HISTORIES") ?? 10);
/** The long form tells how far it is. */
const TOLD = 100;

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

testsWithPostgres("Two schedulers on one queue in PostgreSQL", {
  "keep a retry time right that could not be stored before a clock was set": async (server) => {
    await using database = await TimedDatabase.on(server);
    await using queue = await PostgresHistoryQueue.on(database);
    await new History(queue).run([
      { do: "answer", host: 0, answer: { reply: "450 4.2.0 later", status: "4.2.0" }, delay: 0 },
      { do: "fail", owner: 0, kind: "update", lost: "commit", times: 1 },
      { do: "send", owner: 0, recipients: 1 },
      { do: "set clock", owner: 0, ms: -60 * DAY },
      { do: "wait", ms: MINUTE },
    ]);
  },
  "store a notice again under its id where that has failed": async (server) => {
    await using database = await TimedDatabase.on(server);
    for (const lost of ["commit", "answer", "late"] as const) {
      await using queue = await PostgresHistoryQueue.on(database);
      await new History(queue).run([
        { do: "answer", host: 0, answer: { reply: "550 5.1.1 no", status: "5.1.1" }, delay: 5_000 },
        { do: "send", owner: 0, recipients: 1 },
        { do: "fail", owner: 0, kind: "add", lost, times: 1 },
        { do: "wait", ms: MINUTE },
      ]);
    }
  },
  "send no message that was refused while it was unknown whether it is stored": async (server) => {
    await using database = await TimedDatabase.on(server);
    await using queue = await PostgresHistoryQueue.on(database);
    const history = new History(queue);
    await history.run([
      { do: "fail", owner: 0, kind: "add", lost: "answer", times: 1 },
      { do: "fail", owner: 0, kind: "take id", lost: "commit", times: 70 },
      { do: "send", owner: 0, recipients: 1 },
      ...Array.from({ length: 3 }, () => ({ do: "wait", ms: MINUTE }) as const),
    ]);
    assert.deepEqual(history.sentAlthoughRefused, []);
  },
  [`lose nothing, and double nothing without a record, in ${RUNS} histories`]: async (server) => {
    await using database = await TimedDatabase.on(server);
    const steps = histories({
      kinds: STATEMENT_KINDS,
      ways: ["commit", "answer", "late"],
      times: [1, 1, 1, 2, 3, 70],
    });
    let count = 0;
    await fc.assert(
      fc.asyncProperty(steps, async (steps) => {
        await using queue = await PostgresHistoryQueue.on(database);
        await new History(queue).run(steps);
        if (++count % TOLD === 0) console.log(`${count} histories`);
      }),
      { numRuns: RUNS, endOnFailure: true },
    );
  },
});
