import assert from "node:assert/strict";
import { Slots } from "./slots.ts";

Deno.test("Slots.take() waits its turn, also behind one that wants more", async () => {
  const slots = new Slots(3);
  const first = await slots.take(2);
  const order: string[] = [];
  const big = slots.take(3).then((taken) => (order.push("big"), taken));
  const small = slots.take(1).then((taken) => (order.push("small"), taken));
  await Promise.resolve();
  assert.deepEqual(order, []);
  first[Symbol.dispose]();
  const taken = await big;
  assert.deepEqual(order, ["big"]);
  taken[Symbol.dispose]();
  taken[Symbol.dispose]();
  (await small)[Symbol.dispose]();
  assert.equal(slots.free, 3);
});

Deno.test("Slots.take() of more than there are throws", async () => {
  await assert.rejects(new Slots(2).take(3), RangeError);
});
