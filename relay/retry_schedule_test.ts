import assert from "node:assert/strict";
import { SCHEDULE } from "../tests/support/retry_schedule.ts";
import { longestDelay, retryDelay } from "./retry_schedule.ts";

const MINUTE = 60_000;

Deno.test("retryDelay() follows the schedule, whose last step repeats", () => {
  const delays = [1, 2, 3, 4, 5, 6, 7, 8, 50].map((attempts) =>
    retryDelay(attempts, SCHEDULE, () => 0) / MINUTE
  );
  assert.deepEqual(delays, [1, 5, 15, 30, 60, 120, 240, 240, 240]);
});

Deno.test("retryDelay() is never sooner than the schedule and at most a tenth later", () => {
  for (const random of [0, 0.25, 0.999999]) {
    for (let attempts = 1; attempts < 10; attempts++) {
      const plain = retryDelay(attempts, SCHEDULE, () => 0);
      const delay = retryDelay(attempts, SCHEDULE, () => random);
      assert(delay >= plain && delay <= plain * 1.1, `${attempts}: ${delay}`);
      assert(delay <= longestDelay(SCHEDULE));
    }
  }
});

Deno.test("retryDelay() takes an attempt that was never counted as the first", () => {
  assert.equal(retryDelay(0, SCHEDULE, () => 0), MINUTE);
});
