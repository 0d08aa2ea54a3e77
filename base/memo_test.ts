import assert from "node:assert/strict";
import { Memo } from "./memo.ts";

Deno.test("Memo keeps answers, and at most 1,000 of them", () => {
  const memo = new Memo<number>();
  assert.equal(memo.get("0"), undefined);
  for (let i = 0; i < 5000; i++) assert.equal(memo.keep(String(i), i), i);
  const kept = Array.from({ length: 5000 }, (_, i) => memo.get(String(i))).filter((value) =>
    value !== undefined
  );
  assert.ok(kept.length <= 1000 && kept.includes(4999), String(kept.length));
});
