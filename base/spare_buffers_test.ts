import assert from "node:assert/strict";
import { SpareBuffers } from "./spare_buffers.ts";

Deno.test("SpareBuffers gives out each buffer to one at a time, and keeps up to its limit", () => {
  const buffers = new SpareBuffers(16, 2);
  const three = [buffers.take(), buffers.take(), buffers.take()];
  assert.equal(new Set(three).size, 3);
  assert.deepEqual(three.map(({ length }) => length), [16, 16, 16]);
  for (const buffer of three) buffers.give(buffer);
  const again = [buffers.take(), buffers.take(), buffers.take()];
  assert.equal(new Set(again).size, 3);
  assert.equal(again.filter((buffer) => three.includes(buffer)).length, 2);
});
