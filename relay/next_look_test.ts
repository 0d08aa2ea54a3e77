import assert from "node:assert/strict";
import { newEntry } from "../tests/support/queue_entry.ts";
import { untilNextLook } from "./next_look.ts";
import type { QueueRecipient } from "./queue_entry.ts";
import { longestDelay } from "./retry_schedule.ts";

const HOUR = 3_600_000;
const NOW = Date.UTC(2026, 10, 30);
const schedule = { delays: [HOUR, 4 * HOUR], expireAfter: 120 * HOUR, delayNoticeAfter: 6 * HOUR };

/** Hours, for an entry of this age with such recipients. */
function hours(
  age: number,
  recipients: readonly Partial<QueueRecipient>[],
  reversePath = "a@a.test",
): number {
  const entry = newEntry(recipients.map((one) => ({ address: "b@b.test", ...one })), {
    id: "1",
    reversePath,
  });
  return untilNextLook(entry, { age: age * HOUR, now: NOW, schedule, keepFor: 100 * HOUR }) / HOUR;
}

Deno.test("untilNextLook() is the first attempt, and no later than the schedule allows", () => {
  const told = { delayNotified: true };
  assert.equal(
    hours(10, [{ nextAttemptAt: NOW + 3 * HOUR, ...told }, { nextAttemptAt: NOW + 2 * HOUR, ...told }]),
    2,
  );
  // Written under a clock that was ahead.
  assert.equal(hours(10, [{ nextAttemptAt: NOW + 9000 * HOUR, ...told }]), longestDelay(schedule) / HOUR);
  assert.ok(hours(10, [{ nextAttemptAt: NOW - HOUR, ...told }]) <= 0);
});

Deno.test("untilNextLook() counts notices that are due or could not be queued, and what has no sender", () => {
  assert.equal(hours(5, [{ nextAttemptAt: NOW + 3 * HOUR }]), 1);
  assert.equal(hours(7, [{ nextAttemptAt: NOW + 3 * HOUR }]), 3);
  assert.equal(hours(5, [{ status: "failed", settled: false }]), 1);
  assert.equal(hours(5, [{ status: "failed", settled: true }]), Infinity);
  assert.equal(hours(5, [{ status: "held", settled: true }], ""), 95);
  assert.equal(hours(5, [{ status: "held", settled: true }]), Infinity);
});
