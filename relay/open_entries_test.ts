import assert from "node:assert/strict";
import { MemoryQueue } from "../tests/support/memory_queue.ts";
import { OpenEntries, type OpenEntry, StoreError } from "./open_entries.ts";

function world() {
  const queue = new MemoryQueue();
  const entries = new OpenEntries(queue);
  const open = async (id: string): Promise<OpenEntry> => await entries.open(id) ?? assert.fail("no entry");
  return { queue, entries, open };
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

Deno.test("OpenEntry.save() and remove() say when they cannot, and can be called again", async () => {
  const { queue, open } = world();
  const { id } = await queue.put(["u@a.test"]);
  using opened = await open(id);
  queue.before = () => {
    throw new Error("no space left on device");
  };
  await assert.rejects(opened.save(), {
    name: "StoreError",
    message: `${id} cannot be stored: no space left on device`,
  });
  await assert.rejects(opened.remove(), StoreError);
  assert.equal(opened.gone, false);
  queue.before = () => {};
  await opened.save();
  await opened.remove();
  assert.equal(opened.gone, true);
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
