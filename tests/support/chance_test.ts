import assert from "node:assert/strict";
import { seeded } from "./chance.ts";

Deno.test("seeded() draws the same numbers for the same seed, evenly from [0, 1)", () => {
  const draw = (seed: number) => Array.from({ length: 10_000 }, seeded(seed));
  const numbers = draw(7);
  assert.deepEqual(draw(7), numbers);
  assert.notDeepEqual(draw(8), numbers);
  assert.ok(numbers.every((number) => number >= 0 && number < 1));
  for (let tenth = 0; tenth < 10; tenth++) {
    const count = numbers.filter((number) => Math.floor(number * 10) === tenth).length;
    assert.ok(count > 800 && count < 1200, `${tenth}: ${count}`);
  }
});
