import assert from "node:assert/strict";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { MemoryQueue } from "../tests/support/memory_queue.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import { OpenEntries } from "./open_entries.ts";
import { UnsavedEntries } from "./unsaved_entries.ts";

function world() {
  const queue = new MemoryQueue();
  const entries = new OpenEntries(queue);
  const clock = new FakeClock();
  const logger = new RecordingLog();
  const unsaved = new UnsavedEntries({ entries, store: (opened) => opened.save(), clock, logger });
  return { queue, entries, clock, logger, unsaved };
}

Deno.test("UnsavedEntries.keep() holds an entry open and tries again until it can be stored, said once", async () => {
  const { queue, entries, clock, logger, unsaved } = world();
  const { id } = await queue.put(["u@a.test"]);
  queue.before = () => {
    throw new Error("no space left on device");
  };
  for (let time = 0; time < 2; time++) await unsaved.keep(id, new Error("no space left on device"));
  let stored = false;
  const storing = unsaved.stored(id).then(() => stored = true);
  await clock.advance(60_000);
  assert.deepEqual([unsaved.size, entries.size, stored], [1, 1, false]);
  queue.before = () => {};
  await clock.advance(10_000);
  await storing;
  assert.deepEqual([unsaved.size, entries.size, clock.pending], [0, 0, 0]);
  assert.equal(logger.named("queue.store_failed").length, 1);
});

Deno.test("UnsavedEntries.stop() tries each once more, and lets go of it", async () => {
  const { queue, entries, clock, unsaved } = world();
  const { id } = await queue.put(["u@a.test"]);
  let tries = 0;
  queue.before = () => {
    tries++;
    throw new Error("no space left on device");
  };
  await unsaved.keep(id, new Error("no space left on device"));
  const storing = unsaved.stored(id);
  await unsaved.stop();
  await storing;
  assert.deepEqual([tries, unsaved.size, entries.size, clock.pending], [1, 0, 0, 0]);
});
