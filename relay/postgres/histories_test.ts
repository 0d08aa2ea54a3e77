// Histories of two schedulers on one queue in a real PostgreSQL.
import { histories, History } from "../../tests/support/histories.ts";
import { PostgresHistoryQueue, STATEMENT_KINDS } from "../../tests/support/postgres_histories.ts";
import { testsWithPostgres } from "../../tests/support/postgres_server.ts";
import { fc } from "../../tests/support/property.ts";
import { TimedDatabase } from "../../tests/support/timed_database.ts";

/** How many histories; `MAILAPP_HISTORIES=10000` for the long form. */
const RUNS = Number(Deno.env.get("MAILAPP_HISTORIES") ?? 10);
/** The long form tells how far it is. */
const TOLD = 100;

testsWithPostgres("Two schedulers on one queue in PostgreSQL", {
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
