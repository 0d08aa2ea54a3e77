import assert from "node:assert/strict";
import { figure, markdownTable, median, percentile } from "./statistics.ts";

Deno.test("median() takes the middle of an odd and the mean of an even number of values", () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 3, 2]), 2.5);
  assert.ok(Number.isNaN(median([])));
});

Deno.test("percentile() takes a value that occurs", () => {
  const hundred = Array.from({ length: 100 }, (_, i) => i + 1);
  assert.equal(percentile(hundred, 50), 50);
  assert.equal(percentile(hundred, 99), 99);
  assert.equal(percentile([7], 99), 7);
});

Deno.test("figure() keeps three digits that count", () => {
  assert.deepEqual([1234.5, 100, 12.34, 3, 0.01234, NaN, undefined].map(figure), [
    "1,235",
    "100",
    "12.3",
    "3",
    "0.0123",
    "–",
    "–",
  ]);
});

Deno.test("markdownTable() puts a line beneath the head", () => {
  assert.equal(markdownTable([["a", "b"], ["1", "2"]]), "| a | b |\n| --- | --- |\n| 1 | 2 |\n");
});
