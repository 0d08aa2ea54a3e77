import assert from "node:assert/strict";
import { formatDuration, parseDuration } from "./duration.ts";

Deno.test("parseDuration() knows seconds, minutes, hours and days", () => {
  assert.deepEqual(["90s", "5m", "4h", "5d"].map(parseDuration), [90_000, 300_000, 14_400_000, 432_000_000]);
});

Deno.test("parseDuration() refuses what has no clear unit", () => {
  for (const value of ["", "5", "5 m", "1h30m", "5M", "-5s", "5ms", 300, null]) {
    assert.equal(parseDuration(value), undefined, String(value));
  }
});

Deno.test("formatDuration() takes the largest unit that fits", () => {
  assert.deepEqual([90_000, 300_000, 14_400_000, 432_000_000].map(formatDuration), ["90s", "5m", "4h", "5d"]);
});
