import assert from "node:assert/strict";
import { DAY, HOUR, MINUTE } from "../../tests/support/scheduler_world.ts";
import { FakeClock } from "../../tests/support/fake_clock.ts";
import { newEntry, recipient } from "../../tests/support/queue_entry.ts";
import { QueueTimes } from "./queue_times.ts";

function setting() {
  const clock = new FakeClock();
  const database = new FakeClock(clock.now() + 3 * HOUR);
  return { clock, database, times: new QueueTimes(clock, () => database.now()) };
}

Deno.test("QueueTimes.offset follows a clock that is set, and no smaller difference", () => {
  const { clock, database, times } = setting();
  assert.equal(times.offset, 3 * HOUR);
  clock.jump(900);
  assert.equal(times.offset, 3 * HOUR);
  clock.jump(DAY);
  assert.equal(times.offset, 3 * HOUR - DAY - 900);
  database.jump(-2 * DAY);
  assert.equal(times.offset, 3 * HOUR - 3 * DAY - 900);
});

for (const set of [DAY, -DAY, -30 * MINUTE, 2000]) {
  Deno.test(`QueueTimes.corrected() keeps the database's times where a host's clock is set by ${set} ms`, () => {
    const { clock, times } = setting();
    const later = clock.now() + 10 * MINUTE;
    const entry = newEntry([
      recipient("a@x.test", { nextAttemptAt: later }),
      recipient("b@x.test", { nextAttemptAt: later }),
      recipient("c@x.test", { nextAttemptAt: 0 }),
    ], { id: "m" });
    times.remember(entry);
    assert.equal(times.corrected(entry), entry);
    const due = later + times.offset;
    clock.jump(set);
    const [, changed] = entry.recipients;
    assert.ok(changed);
    changed.nextAttemptAt = clock.now() + HOUR;
    const shifted = times.corrected(entry).recipients.map(({ nextAttemptAt }) =>
      nextAttemptAt === 0 ? 0 : nextAttemptAt + times.offset
    );
    assert.deepEqual(shifted, [due, due + 50 * MINUTE, 0]);
  });
}

for (const set of [30 * DAY, -30 * DAY, DAY]) {
  Deno.test(`QueueTimes.corrected() knows a time that was set before the host's clock was, by ${set} ms`, () => {
    const { clock, times } = setting();
    const entry = newEntry([recipient("a@x.test")], { id: "m" });
    times.remember(entry);
    const [failed] = entry.recipients;
    assert.ok(failed);
    failed.nextAttemptAt = clock.now() + MINUTE;
    const due = failed.nextAttemptAt + times.offset;
    clock.jump(set);
    assert.equal((times.corrected(entry).recipients[0]?.nextAttemptAt ?? 0) + times.offset, due);
  });
}
