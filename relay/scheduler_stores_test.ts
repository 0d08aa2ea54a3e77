// The tests of the scheduler once more, on the spool and on a queue in a real PostgreSQL, whose clock is the test's.
import { PostgresStorages, spoolStorage } from "../tests/support/queue_storages.ts";
import { testsWithPostgres } from "../tests/support/postgres_server.ts";
import { runStored, schedulerTests } from "../tests/support/scheduler_world.ts";

const tests = await schedulerTests(() =>
  Promise.all([
    import("./scheduler_test.ts"),
    import("./scheduler_reconfigure_test.ts"),
    import("./scheduler_recovery_test.ts"),
    import("./scheduler_retry_test.ts"),
    import("./scheduler_turns_test.ts"),
  ])
);

// A higher cap is used with the next look at the slots of all hosts.
const LOOKS = /goes by the new cap/;

for (const test of tests) Deno.test(`${test.name}, on a spool`, () => runStored(test, spoolStorage));

testsWithPostgres(
  "Scheduler on a queue in PostgreSQL",
  Object.fromEntries(
    tests.filter(({ soleOwner }) => !soleOwner).map((test) => [
      test.name,
      async (server) => {
        await using storages = await PostgresStorages.on(server);
        const looks = LOOKS.test(test.name);
        await runStored(test, () => storages.next({ looks }));
      },
    ]),
  ),
);
