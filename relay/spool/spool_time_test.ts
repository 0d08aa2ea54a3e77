import assert from "node:assert/strict";
import { until } from "../../tests/support/peers/process.ts";
import { join } from "@std/path";
import { FakeClock } from "../../tests/support/fake_clock.ts";
import { FaultyFileSystem } from "../../tests/support/faulty_file_system.ts";
import { RecordingLog } from "../../tests/support/recording_log.ts";
import { ACCEPTED, add, inDirectory, scan } from "../../tests/support/spool.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

Deno.test("ageOf() tells what has passed while the machine was up, however the clock is set", async () => {
  for (const jump of [30 * DAY, -30 * DAY, 365 * DAY, -365 * DAY]) {
    await inDirectory(async ({ open }) => {
      const clock = new FakeClock(ACCEPTED);
      let up = 5 * HOUR;
      const options = { clock, uptime: () => up };
      const pass = async (ms: number) => {
        up += ms;
        await clock.advance(ms);
      };
      let id: string;
      {
        await using spool = await open(options);
        id = await add(spool);
        await pass(HOUR);
        assert.equal(spool.ageOf({ id, acceptedAt: ACCEPTED }), HOUR);
        clock.jump(jump);
        assert.equal(spool.ageOf({ id, acceptedAt: ACCEPTED }), HOUR);
      }
      // It is not open, and the clock is set once more.
      await pass(HOUR);
      clock.jump(-jump / 2);
      {
        await using spool = await open(options);
        const [summary] = await scan(spool);
        assert.equal(summary?.age, 2 * HOUR);
        await pass(2 * HOUR);
      }
      // The machine was off, for an unknown time.
      clock.jump(3 * DAY);
      up = 30_000;
      await using spool = await open(options);
      assert.equal(spool.ageOf({ id, acceptedAt: ACCEPTED }), 4 * HOUR + 30_000);
    });
  }
});

Deno.test("ageOf() takes no uptime of another machine for time that has passed", async () => {
  for (
    const { up, clock: set, passed } of [
      // Moved to a machine that has been up for long, and one that is new; copied back after a while.
      { up: 400 * DAY, clock: HOUR, passed: HOUR },
      { up: HOUR / 2, clock: HOUR, passed: HOUR / 2 },
      { up: 400 * DAY, clock: 30 * DAY, passed: 30 * DAY },
      // Whether the clock is slow cannot be known.
      { up: 400 * DAY, clock: -HOUR, passed: 0 },
    ]
  ) {
    await inDirectory(async ({ open }) => {
      const clock = new FakeClock(ACCEPTED);
      let id: string;
      {
        await using spool = await open({ clock, boot: "a", uptime: () => HOUR + clock.monotonic() });
        id = await add(spool);
        await clock.advance(HOUR);
      }
      clock.jump(set);
      const began = clock.monotonic();
      const there = { clock, boot: "b", uptime: () => up + clock.monotonic() - began };
      {
        await using spool = await open(there);
        const [summary] = await scan(spool);
        assert.equal(summary?.age, HOUR + passed);
        await clock.advance(2 * HOUR);
      }
      // There it goes on as on any machine, the clock being set right.
      clock.jump(30 * DAY);
      await clock.advance(HOUR);
      await using spool = await open(there);
      assert.equal(spool.ageOf({ id, acceptedAt: ACCEPTED }), 4 * HOUR + passed);
    });
  }
});

Deno.test("ageOf() loses an hour at most of what went before a crash of the machine", async () => {
  await inDirectory(async ({ directory, open }) => {
    const clock = new FakeClock(ACCEPTED);
    const spool = await open({ clock, uptime: () => 10 * DAY + clock.monotonic() });
    const id = await add(spool);
    await clock.advance(DAY);
    // Written beside the clock's steps.
    const told = await until(() => {
      const text = Deno.readTextFileSync(join(directory, "time"));
      return Number(/"time":(\d+)/.exec(text)?.[1]) >= ACCEPTED + 23 * HOUR && text;
    }, { what: "the time of the last hour" });
    await spool.close();
    // As it stood when the power went.
    Deno.writeTextFileSync(join(directory, "time"), told);
    await using after = await open({ clock: new FakeClock(ACCEPTED), uptime: () => 1000 });
    const age = after.ageOf({ id, acceptedAt: ACCEPTED });
    assert.ok(age >= 23 * HOUR && age <= DAY + 1000, `${age}`);
  });
});

Deno.test("ageOf() goes by the time of acceptance where the id does not tell, and is never below 0", async () => {
  await inDirectory(async ({ open }) => {
    await using spool = await open({ clock: new FakeClock(ACCEPTED) });
    assert.equal(spool.ageOf({ id: "0notice001", acceptedAt: ACCEPTED - DAY }), DAY);
    assert.equal(spool.ageOf({ id: "zzzzzzzzzzzzzzzzzz", acceptedAt: ACCEPTED }), 0);
    assert.equal(spool.ageOf({ id: "0notice001", acceptedAt: ACCEPTED + DAY }), 0);
  });
});

Deno.test("Spool goes by the clock where its time is spoilt, and says so; it needs no room to go on", async () => {
  await inDirectory(async ({ directory, open }) => {
    const clock = new FakeClock(ACCEPTED);
    const uptime = () => HOUR + clock.monotonic();
    await (await open({ clock, uptime })).close();
    clock.jump(DAY);
    Deno.writeTextFileSync(join(directory, "time"), "nonsense");
    const logger = new RecordingLog();
    const fileSystem = new FaultyFileSystem();
    fileSystem.fault = (call, path) => call === "rename" && path.endsWith("/time") ? "ENOSPC" : undefined;
    await using spool = await open({ clock, uptime, logger, fileSystem });
    assert.equal(spool.ageOf({ id: "0notice001", acceptedAt: ACCEPTED }), DAY);
    assert.deepEqual(
      logger.events.filter(({ level }) => level === "warn").map(({ event }) => event),
      ["queue.time_lost"],
    );
    assert.ok(logger.events.some(({ event }) => event === "queue.time_not_saved"));
  });
});
