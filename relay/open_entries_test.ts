import assert from "node:assert/strict";
import { silentLogger } from "../base/log.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { MemoryQueue } from "../tests/support/memory_queue.ts";
import { OpenEntries, type OpenEntry } from "./open_entries.ts";

function world() {
  const queue = new MemoryQueue();
  const clock = new FakeClock();
  const abort = new AbortController();
  const entries = new OpenEntries({ queue, clock, logger: silentLogger, signal: abort.signal });
  const open = async (id: string): Promise<OpenEntry> => await entries.open(id) ?? assert.fail("no entry");
  return { queue, clock, abort, entries, open };
}

Deno.test("OpenEntries.open() gives everybody the same copy, read once", async () => {
  const { queue, entries, open } = world();
  const { id } = await queue.put(["u@a.test"]);
  let loads = 0;
  const load = queue.load.bind(queue);
  queue.load = (id) => (loads++, load(id));
  const [one, two] = await Promise.all([open(id), open(id)]);
  assert.equal(one.entry, two.entry);
  assert.equal(one.inFlight, two.inFlight);
  assert.equal(loads, 1);
  one[Symbol.dispose]();
  one[Symbol.dispose]();
  assert.equal(entries.size, 1);
  two[Symbol.dispose]();
  assert.equal(entries.size, 0);
  const again = await open(id);
  assert.notEqual(again.entry, one.entry);
  assert.equal(loads, 2);
  again[Symbol.dispose]();
});

Deno.test("OpenEntries.open() finds nothing where there is nothing, nor what was removed meanwhile", async () => {
  const { queue, entries, open } = world();
  assert.equal(await entries.open("none"), undefined);
  const { id } = await queue.put(["u@a.test"]);
  using opened = await open(id);
  await opened.remove();
  assert.equal(opened.gone, true);
  assert.equal(await entries.open(id), undefined);
  queue.load = () => Promise.reject(new Error("input/output error"));
  await assert.rejects(entries.open("other"));
  assert.equal(entries.size, 1);
});

Deno.test("OpenEntry.save() tries again until it can, and gives up by signal", async () => {
  const { queue, clock, abort, open } = world();
  const { id } = await queue.put(["u@a.test"]);
  using opened = await open(id);
  let failures = 2;
  queue.before = () => {
    if (failures-- > 0) throw new Error("no space left on device");
  };
  let saved = false;
  const saving = opened.save().then(() => saved = true);
  await clock.advance(19_999);
  assert.equal(saved, false);
  await clock.advance(1);
  await saving;
  failures = Infinity;
  const hopeless = assert.rejects(opened.save(), /going down/);
  await clock.advance(0);
  abort.abort(new Error("going down"));
  await hopeless;
  assert.equal(clock.pending, 0);
});

Deno.test("OpenEntry.exclusively() runs one at a time, also after one that failed", async () => {
  const { queue, open } = world();
  const { id } = await queue.put(["u@a.test"]);
  using one = await open(id);
  using two = await open(id);
  const order: string[] = [];
  const first = one.exclusively(async () => {
    order.push("first begins");
    await new Promise((resolve) => setTimeout(resolve, 0));
    order.push("first ends");
    throw new Error("failed");
  });
  const second = two.exclusively(() => Promise.resolve(void order.push("second")));
  await assert.rejects(first);
  await second;
  assert.deepEqual(order, ["first begins", "first ends", "second"]);
});
