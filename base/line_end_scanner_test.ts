import assert from "node:assert/strict";
import { fc } from "../tests/support/property.ts";
import { LineEndScanner } from "./line_end_scanner.ts";

Deno.test("LineEndScanner.next() finds what a look at each byte finds, wherever the chunk stands", () => {
  const byte = fc.oneof(
    { weight: 8, arbitrary: fc.integer({ min: 0, max: 255 }) },
    { weight: 1, arbitrary: fc.constantFrom(9, 10, 13, 14, 127, 128, 138, 141, 255) },
  );
  const memory = fc.array(byte, { maxLength: 60 });
  fc.assert(
    fc.property(memory, fc.nat(60), fc.nat(60), (bytes, begin, length) => {
      const chunk = Uint8Array.from(bytes).subarray(begin, begin + length);
      const scanner = new LineEndScanner(chunk);
      for (let from = 0; from <= chunk.length; from++) {
        const found = chunk.findIndex((value, at) => at >= from && (value === 13 || value === 10));
        assert.equal(scanner.next(from), found < 0 ? chunk.length : found);
      }
    }),
    { numRuns: 3000 },
  );
});

Deno.test("LineEndScanner.next() tells CR and LF from every other byte, at every place of a word", () => {
  for (let value = 0; value < 256; value++) {
    for (let place = 0; place < 4; place++) {
      for (const others of [0x20, 0x80, 0xff, 0x0e]) {
        const chunk = new Uint8Array(8).fill(others);
        chunk[4 + place] = value;
        const found = new LineEndScanner(chunk).next(0);
        assert.equal(found, value === 13 || value === 10 ? 4 + place : 8, `${value} among ${others}`);
      }
    }
  }
});
