import assert from "node:assert/strict";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { Seldom } from "./seldom.ts";

Deno.test("Seldom.isDue() holds once a minute of each thing", async () => {
  const clock = new FakeClock();
  const seldom = new Seldom(clock);
  assert.deepEqual([seldom.isDue("a"), seldom.isDue("a"), seldom.isDue("b")], [true, false, true]);
  await clock.advance(59_999);
  assert.equal(seldom.isDue("a"), false);
  await clock.advance(1);
  assert.deepEqual([seldom.isDue("a"), seldom.isDue("a")], [true, false]);
});

Deno.test("Seldom remembers a thousand things, and forgets the one that was said first", () => {
  const seldom = new Seldom(new FakeClock());
  for (let i = 0; i < 1000; i++) assert.ok(seldom.isDue(`${i}`));
  assert.equal(seldom.isDue("0"), false);
  assert.ok(seldom.isDue("one more"));
  assert.ok(seldom.isDue("0"));
  assert.equal(seldom.isDue("999"), false);
});
