import assert from "node:assert/strict";
import { FakeClock } from "./fake_clock.ts";

Deno.test("FakeClock.advance() fires timers in order, each at its own time", async () => {
  const clock = new FakeClock(1000);
  const fired: string[] = [];
  clock.after(20, () => fired.push(`b ${clock.now()}`));
  clock.after(10, () => {
    fired.push(`a ${clock.now()}`);
    clock.after(5, () => fired.push(`nested ${clock.now()}`));
  });
  clock.after(31, () => fired.push("late"));
  await clock.advance(30);
  assert.deepEqual(fired, ["a 1010", "nested 1015", "b 1020"]);
  assert.equal(clock.now(), 1030);
  assert.equal(clock.pending, 1);
});

Deno.test("FakeClock.advance() lets woken code make new timers before time goes on", async () => {
  const clock = new FakeClock(0);
  const wait = (ms: number) => new Promise<void>((resolve) => void clock.after(ms, resolve));
  const done = (async () => {
    await wait(10);
    await wait(10);
    return clock.now();
  })();
  await clock.advance(100);
  assert.equal(await done, 20);
});

Deno.test("FakeClock.jump() moves the wall clock and nothing else", async () => {
  const clock = new FakeClock(0);
  let fired = false;
  clock.after(10, () => fired = true);
  clock.jump(1_000_000);
  await clock.advance(9);
  assert.equal(fired, false);
  assert.equal(clock.now(), 1_000_009);
  assert.equal(clock.monotonic(), 9);
});

Deno.test("FakeClock.after() can be taken back", async () => {
  const clock = new FakeClock();
  const timer = clock.after(1, () => assert.fail("fired"));
  timer.cancel();
  await clock.advance(5);
  assert.equal(clock.pending, 0);
});
