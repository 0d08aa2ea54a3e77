import assert from "node:assert/strict";
import { FakeClock } from "../../tests/support/fake_clock.ts";
import { recordingIo } from "../../tests/support/in_process.ts";
import { count, printable, Progress, showDuration, showSize, showTime } from "./terminal.ts";

Deno.test("printable() leaves nothing that moves a cursor or turns text round", () => {
  assert.equal(printable("a\u001b[2Jb\r\nc\u202ed\u0085é"), "a\\u001b[2Jb\\u000d\\u000ac\\u202ed\\u0085é");
});

Deno.test("showDuration() tells the largest unit", () => {
  const cases: [number, string][] = [
    [-5, "0 s"],
    [999, "0 s"],
    [59_999, "59 s"],
    [60_000, "1 min"],
    [7_200_000, "2 h"],
    [86_400_000, "1 day"],
    [5 * 86_400_000, "5 days"],
  ];
  for (const [ms, text] of cases) assert.equal(showDuration(ms), text);
});

Deno.test("showSize(), showTime(), count() read well", () => {
  assert.deepEqual([12, 2048, 3.5 * 1024 * 1024].map(showSize), ["12 B", "2.0 KiB", "3.5 MiB"]);
  assert.equal(showTime(Date.UTC(2026, 10, 24, 3, 4, 5, 678)), "2026-11-24 03:04:05Z");
  assert.deepEqual([0, 1, 2].map((n) => count(n, "message")), ["0 messages", "1 message", "2 messages"]);
});

Deno.test("Progress shows on a terminal how far long work has come, and goes away", async () => {
  const clock = new FakeClock();
  const { io, written } = recordingIo({ isTerminal: true });
  {
    using progress = new Progress("message", { io, clock });
    progress.step();
    assert.equal(written.err, "");
    await clock.advance(500);
    progress.step();
    assert.equal(written.err, "\r\u001b[K2 messages …");
  }
  assert.equal(written.err, "\r\u001b[K2 messages …\r\u001b[K");
  written.err = "";
  using quiet = new Progress("message", { io: { ...io, isTerminal: false }, clock });
  await clock.advance(1000);
  quiet.step();
  assert.equal(written.err, "");
});
