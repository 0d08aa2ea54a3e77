import assert from "node:assert/strict";
import type { Clock } from "./clock.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { Watchdog } from "./watchdog.ts";

/** A clock of a process that can be stopped: time passes then, and timers fire afterwards. */
function stoppable() {
  const fake = new FakeClock();
  let stopped = 0;
  const clock: Clock = {
    now: () => fake.now(),
    monotonic: () => fake.monotonic() + stopped,
    after: (ms, callback) => fake.after(ms, callback),
  };
  return { clock, stop: (ms: number) => void (stopped += ms), run: (ms: number) => fake.advance(ms) };
}

function watched() {
  const clock = new FakeClock();
  const fired: number[] = [];
  const watchdog = new Watchdog(clock, () => fired.push(clock.monotonic()));
  return { clock, fired, watchdog };
}

Deno.test("Watchdog calls back once, at its deadline", async () => {
  const { clock, fired, watchdog } = watched();
  watchdog.deadline = 1000;
  await clock.advance(999);
  assert.deepEqual(fired, []);
  await clock.advance(1);
  assert.deepEqual(fired, [1000]);
  await clock.advance(10_000);
  assert.deepEqual(fired, [1000]);
  assert.equal(watchdog.deadline, Infinity);
  assert.equal(clock.pending, 0);
});

Deno.test("Watchdog follows a deadline that moves away with one timer", async () => {
  const { clock, fired, watchdog } = watched();
  for (let i = 1; i <= 100; i++) {
    watchdog.deadline = clock.monotonic() + 1000;
    assert.ok(clock.pending <= 1);
    await clock.advance(10);
  }
  assert.deepEqual(fired, []);
  await clock.advance(1000);
  assert.deepEqual(fired, [1990]);
});

Deno.test("Watchdog follows a deadline that comes nearer", async () => {
  const { clock, fired, watchdog } = watched();
  watchdog.deadline = 10_000;
  watchdog.deadline = 1000;
  assert.equal(clock.pending, 1);
  await clock.advance(1000);
  assert.deepEqual(fired, [1000]);
});

Deno.test("Watchdog keeps still without a deadline and when cancelled", async () => {
  const { clock, fired, watchdog } = watched();
  watchdog.deadline = 1000;
  watchdog.deadline = Infinity;
  await clock.advance(5000);
  watchdog.deadline = clock.monotonic() + 1000;
  watchdog.cancel();
  await clock.advance(5000);
  assert.deepEqual(fired, []);
  assert.equal(clock.pending, 0);
  watchdog.deadline = clock.monotonic() + 1000;
  await clock.advance(1000);
  assert.equal(fired.length, 1);
});

Deno.test("Watchdog calls back at once where the deadline has passed", async () => {
  const { clock, fired, watchdog } = watched();
  await clock.advance(1000);
  watchdog.deadline = 500;
  await clock.advance(0);
  assert.deepEqual(fired, [1000]);
});

Deno.test("Watchdog is not moved by a jump of the time of day", async () => {
  const { clock, fired, watchdog } = watched();
  watchdog.deadline = 1000;
  clock.jump(86_400_000);
  await clock.advance(999);
  assert.deepEqual(fired, []);
});

Deno.test("Watchdogs of one clock share a timer, and each calls back in its time", async () => {
  const clock = new FakeClock();
  const fired: string[] = [];
  const make = (name: string) => new Watchdog(clock, () => fired.push(`${name} ${clock.monotonic()}`));
  const [first, second, third, idle] = [make("first"), make("second"), make("third"), make("idle")];
  first.deadline = 3000;
  second.deadline = 1000;
  third.deadline = 2000;
  idle.deadline = 1500;
  idle.deadline = Infinity;
  assert.equal(clock.pending, 1);
  await clock.advance(1200);
  first.deadline = 4000;
  second.deadline = 1300;
  await clock.advance(2000);
  assert.deepEqual(fired, ["second 1000", "second 1300", "third 2000"]);
  third.deadline = 4000;
  third.cancel();
  await clock.advance(10_000);
  assert.deepEqual(fired.slice(3), ["first 4000"]);
  assert.equal(clock.pending, 0);
});

Deno.test("Watchdog is still when another one, due at the same time, has cancelled it or moved its deadline", async () => {
  const clock = new FakeClock();
  const fired: string[] = [];
  const others: Watchdog[] = [];
  const killer = new Watchdog(clock, () => {
    fired.push("killer");
    others[0]?.cancel();
    if (others[1]) others[1].deadline = 2000;
  });
  for (const name of ["cancelled", "moved"]) others.push(new Watchdog(clock, () => fired.push(name)));
  killer.deadline = 1000;
  for (const other of others) other.deadline = 1000;
  await clock.advance(1000);
  assert.deepEqual(fired, ["killer"]);
  await clock.advance(1000);
  assert.deepEqual(fired, ["killer", "moved"]);
  assert.equal(clock.pending, 0);
});

Deno.test("Watchdog of a process that was stopped lets what came meanwhile be read first", async () => {
  const { clock, stop, run } = stoppable();
  const fired: string[] = [];
  const make = (name: string) => new Watchdog(clock, () => fired.push(name));
  const [answered, ended, silent] = [make("answered"), make("ended"), make("silent")];
  for (const watchdog of [answered, ended, silent]) watchdog.deadline = 10_000;
  await run(5_000);
  stop(3_600_000);
  await run(5_000);
  assert.deepEqual(fired, []);
  // A reply had come: the next step has its own deadline, or there is none.
  answered.deadline = clock.monotonic() + 10_000;
  ended.cancel();
  // One that begins now, and is short, ends no grace.
  make("new").deadline = clock.monotonic() + 500;
  await run(1_999);
  assert.deepEqual(fired, []);
  await run(1);
  assert.deepEqual(fired.toSorted(), ["new", "silent"]);
  await run(8_000);
  assert.deepEqual(fired.slice(2), ["answered"]);
});

Deno.test("Watchdog gives no second grace in a row to a process that is always late", async () => {
  const { clock, stop, run } = stoppable();
  let fired = 0;
  new Watchdog(clock, () => fired++).deadline = 10_000;
  stop(60_000);
  await run(10_000);
  assert.equal(fired, 0);
  stop(60_000);
  await run(2_000);
  assert.equal(fired, 1);
});

Deno.test("Watchdog set to a time long past is not taken for that of a stopped process", async () => {
  const { clock, stop, run } = stoppable();
  stop(60_000);
  let fired = 0;
  new Watchdog(clock, () => fired++).deadline = 500;
  await run(0);
  assert.equal(fired, 1);
});
