import assert from "node:assert/strict";
import { fc } from "../tests/support/property.ts";
import { DueHeap } from "./due_heap.ts";

Deno.test("DueHeap.pop() returns what is due first, whatever the order of pushes", () => {
  fc.assert(fc.property(fc.array(fc.integer()), (times) => {
    const heap = new DueHeap<{ dueAt: number }>();
    for (const dueAt of times) heap.push({ dueAt });
    assert.equal(heap.size, times.length);
    const popped: number[] = [];
    for (let item = heap.pop(); item !== undefined; item = heap.pop()) popped.push(item.dueAt);
    assert.deepEqual(popped, times.toSorted((a, b) => a - b));
  }));
});

Deno.test("DueHeap keeps its order when pushes and pops take turns", () => {
  fc.assert(fc.property(fc.array(fc.option(fc.integer())), (steps) => {
    const heap = new DueHeap<{ dueAt: number }>();
    let model: number[] = [];
    for (const dueAt of steps) {
      if (dueAt === null) {
        assert.equal(heap.pop()?.dueAt, model[0]);
        model = model.slice(1);
      } else {
        heap.push({ dueAt });
        model = [...model, dueAt].sort((a, b) => a - b);
      }
      assert.equal(heap.peek()?.dueAt, model[0]);
    }
  }));
});
