import assert from "node:assert/strict";
import { newEntry } from "../../tests/support/queue_entry.ts";
import { FreshMessages } from "./fresh_messages.ts";
import type { QueueEntry } from "../queue_entry.ts";

function entry(id: string, recipients: string[] = []): QueueEntry {
  return newEntry(recipients, { id, size: 3 });
}

const nobody = () => assert.fail("was told of an entry");

Deno.test("FreshMessages gives an entry once and its message as often as asked", async () => {
  const fresh = new FreshMessages(100, nobody);
  const one = entry("one");
  fresh.add(one, new Uint8Array([1, 2, 3]));
  assert.equal(fresh.takeEntry("one"), one);
  assert.equal(fresh.takeEntry("one"), undefined);
  for (let i = 0; i < 2; i++) {
    const message = fresh.open("one");
    assert.equal(message?.size, 3);
    assert.deepEqual(await Array.fromAsync(message?.chunks() ?? []), [new Uint8Array([1, 2, 3])]);
  }
  fresh.delete("one");
  assert.equal(fresh.open("one"), undefined);
  assert.equal(fresh.has("one"), false);
});

Deno.test("FreshMessages drops the oldest beyond its limit, and one that alone is beyond it", () => {
  const fresh = new FreshMessages(10, () => {});
  for (const id of ["a", "b", "c"]) fresh.add(entry(id), new Uint8Array(4));
  assert.deepEqual(["a", "b", "c"].map((id) => fresh.has(id)), [false, true, true]);
  fresh.add(entry("b"), new Uint8Array(4));
  fresh.add(entry("d"), new Uint8Array(4));
  assert.deepEqual(["b", "c", "d"].map((id) => fresh.has(id)), [true, false, true]);
  fresh.add(entry("e"), new Uint8Array(11));
  assert.deepEqual(["b", "d", "e"].map((id) => fresh.has(id)), [false, false, false]);
});

Deno.test("FreshMessages counts recipients too, which may take more memory than a short message", () => {
  const fresh = new FreshMessages(1024 * 1024, () => {});
  const recipients = Array.from({ length: 1000 }, (_, n) => `u${n}@a.test`);
  for (const id of ["a", "b"]) fresh.add(entry(id, recipients), new Uint8Array(4));
  assert.deepEqual(["a", "b"].map((id) => fresh.has(id)), [false, true]);
});

Deno.test("FreshMessages tells of the entries that it drops, unless somebody has taken them or they are gone", () => {
  const told: string[] = [];
  const fresh = new FreshMessages(10, ({ id }) => void told.push(id));
  for (const id of ["a", "b"]) fresh.add(entry(id), new Uint8Array(4));
  assert.equal(fresh.entryOf("b")?.id, "b");
  fresh.takeEntry("a");
  assert.equal(fresh.entryOf("a"), undefined);
  fresh.add(entry("c"), new Uint8Array(4));
  assert.deepEqual(told, []);
  fresh.add(entry("d"), new Uint8Array(4));
  assert.deepEqual(told, ["b"]);
  fresh.delete("c");
  fresh.add(entry("e"), new Uint8Array(4));
  fresh.clear();
  assert.deepEqual(told, ["b", "d", "e"]);
});
