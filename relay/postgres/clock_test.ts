// Clocks that are set while a queue in PostgreSQL is open.
import assert from "node:assert/strict";
import { systemClock } from "../../base/clock.ts";
import { clockOf } from "../../tests/faults/setting.ts";
import { newEntry, recipient } from "../../tests/support/queue_entry.ts";
import { PostgresServer } from "../../tests/support/postgres_server.ts";
import { RecordingLog } from "../../tests/support/recording_log.ts";
import { testWith } from "../../tests/support/requires.ts";
import { until } from "../../tests/support/until.ts";
import { PostgresQueue } from "./postgres_queue.ts";
import { parseDatabaseUrl } from "./url.ts";

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

/** The clock of a host, set by `ahead` milliseconds. */
function hostClock() {
  const clock = { ...systemClock, ahead: 0, now: () => systemClock.now() + clock.ahead };
  return clock;
}

async function join(url: string, clock = hostClock()) {
  const log = new RecordingLog();
  const queue = await PostgresQueue.open({
    ...{ url: parseDatabaseUrl(url), logger: log, clock, connections: 2 },
    directory: `/tmp/mailapp-test-${crypto.randomUUID()}`,
    hostname: "host.test",
    program: "test",
    lease: 5_000,
    needsStandby: false,
  });
  const add = async (id = queue.newId()) => {
    const entry = newEntry([recipient("a@x.test"), recipient("b@x.test")], {
      id,
      acceptedAt: clock.now(),
    });
    await queue.add(entry, new TextEncoder().encode("Subject: x\r\n\r\n"));
    return await queue.load(id) ?? assert.fail("gone");
  };
  return { log, queue, clock, add, [Symbol.asyncDispose]: () => queue.close() };
}

testWith(
  ["faketime", "pg_lsclusters", "runuser"],
  "PostgresQueue keeps retry times, ages and leases right where a clock is set",
  async (t) => {
    const file = await Deno.makeTempFile({ prefix: "mailapp-clock-" });
    await Deno.chmod(file, 0o644);
    const setDatabaseClock = (seconds: number) =>
      Deno.writeTextFile(file, `${seconds < 0 ? "" : "+"}${seconds}`);
    await setDatabaseClock(0);
    await using server = await PostgresServer.start({ env: clockOf(file) });
    const url = await server.newDatabase();
    const name = new URL(url).pathname.slice(1);
    const rows = (text: string) => server.query(name, text);
    const dueIn = async (id: string) => {
      const [row] = await rows(
        `SELECT extract(epoch FROM due_at - clock_timestamp())::float8 / 60 AS minutes
          FROM mailapp.entry WHERE id = '${id}'`,
      );
      return Number(row?.minutes);
    };
    await t.step("that of a host, which other hosts do not notice", async () => {
      await using host = await join(url);
      await using other = await join(url);
      for (const ahead of [DAY, -3 * DAY]) {
        const entry = await host.add();
        for (const one of entry.recipients) one.nextAttemptAt = host.clock.now() + 30 * MINUTE;
        await host.queue.update(entry);
        const again = await host.queue.load(entry.id) ?? assert.fail("gone");
        host.clock.ahead += ahead;
        const [tried] = again.recipients;
        assert.ok(tried);
        tried.nextAttemptAt = host.clock.now() + 60 * MINUTE;
        await host.queue.update(again);
        // The other recipient is due first, and is so in half an hour still.
        assert.equal(Math.round(await dueIn(entry.id) / 10), 3);
        assert.ok(host.queue.ageOf(entry) < 10 * MINUTE);
        assert.equal(host.queue.shared.giveBack(entry, 6_000), true);
        await host.queue.returned();
        const taken = await other.queue.load(entry.id) ?? assert.fail("not free");
        const waits = taken.recipients.map(({ nextAttemptAt }) =>
          Math.round((nextAttemptAt - other.clock.now()) / (10 * MINUTE))
        );
        assert.deepEqual(waits, [6, 3]);
        await other.queue.remove(entry.id);
      }
    });
    await t.step("that of the database, which all hosts follow", async () => {
      await using host = await join(url);
      const entry = await host.add();
      for (const [count, seconds] of [86_400, -3_600].entries()) {
        await setDatabaseClock(seconds);
        await until(() => host.log.named("queue.clock_set").length > count, "the notice of it");
        const later = await host.queue.load(entry.id) ?? assert.fail("gone");
        for (const one of later.recipients) one.nextAttemptAt = host.clock.now() + 30 * MINUTE;
        await host.queue.update(later);
        assert.equal(Math.round(await dueIn(entry.id) / 10), 3);
      }
      assert.equal(host.log.named("queue.lease_lost").length, 0);
    });
    await t.step("back, and no lease is held for longer", async () => {
      await setDatabaseClock(86_400);
      const host = await join(url);
      await using other = await join(url);
      const { id } = await host.add();
      // A host that is gone without a word.
      await rows(`UPDATE mailapp.host SET dead = true`);
      await host.queue.close();
      await rows(
        `UPDATE mailapp.host SET dead = false, lease_until = clock_timestamp() + interval '5 s',
          seen_at = clock_timestamp()`,
      );
      await rows(`UPDATE mailapp.entry SET owner = (SELECT min(id) FROM mailapp.host)`);
      await setDatabaseClock(0);
      await until(
        async () => await other.queue.load(id) !== undefined,
        "its entry to be free",
        () => new Promise((resolve) => setTimeout(resolve, 100)),
      );
    });
    await Deno.remove(file);
  },
);
