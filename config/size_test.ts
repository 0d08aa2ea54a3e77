import assert from "node:assert/strict";
import { formatSize, parseSize } from "./size.ts";

Deno.test("parseSize() knows 1000s, 1024s and bytes", () => {
  assert.equal(parseSize("50MiB"), 52_428_800);
  assert.equal(parseSize("10MB"), 10_000_000);
  assert.equal(parseSize("1 GiB"), 2 ** 30);
  assert.equal(parseSize("7B"), 7);
  assert.equal(parseSize(1234), 1234);
});

Deno.test("parseSize() refuses what is not a whole size", () => {
  for (
    const value of [
      "",
      "50",
      "50M",
      "1.5MiB",
      "-1MiB",
      "MiB",
      "9999999TiB",
      "1constructor",
      -1,
      1.5,
      NaN,
      null,
    ]
  ) {
    assert.equal(parseSize(value), undefined, String(value));
  }
});

Deno.test("formatSize() gives back what parseSize() reads", () => {
  for (const text of ["50MiB", "10MB", "1TiB", "7B"]) assert.equal(formatSize(parseSize(text) ?? -1), text);
});
