import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { fc } from "../tests/support/property.ts";
import { padLines } from "./pad_lines.ts";

Deno.test("padLines() puts spaces at the ends of lines, from below", () => {
  assert.equal(padLines("A: b\n\tc\nD: e\n", 16), "A: b\n\tc\nD: e   \n");
  assert.equal(padLines("A: b\r\n", 8), "A: b  \r\n");
  assert.equal(padLines("A: b\n", 5), "A: b\n");
  assert.equal(padLines("A: ü\n", 8), "A: ü  \n");
});

Deno.test("padLines() makes no line too long, and fields not shorter", () => {
  assert.equal(padLines("A: b\n", 4), undefined);
  assert.equal(padLines("A: b\nC: d\n", 2 * 999), `A: b${" ".repeat(994)}\nC: d${" ".repeat(994)}\n`);
  assert.equal(padLines("A: b\nC: d\n", 2 * 999 + 1), undefined);
  assert.equal(padLines(`A: ${"b".repeat(2000)}\n`, 2004 + 1), undefined);
  fc.assert(fc.property(
    fc.array(fc.string({ minLength: 1 }).map((text) => `X: ${text.replaceAll(/[\r\n]/g, "")}\n`), {
      minLength: 1,
    }),
    fc.nat(3000),
    (lines, more) => {
      const text = lines.join("");
      const padded = padLines(text, Buffer.byteLength(text) + more);
      if (padded === undefined) return assert.ok(more > lines.length * 900);
      assert.equal(Buffer.byteLength(padded), Buffer.byteLength(text) + more);
      for (const line of padded.split("\n")) assert.ok(Buffer.byteLength(line) <= 998);
      const trimmed = (whole: string) => whole.split("\n").map((line) => line.trimEnd());
      assert.deepEqual(trimmed(padded), trimmed(text));
    },
  ));
});
