import assert from "node:assert/strict";
import { fc } from "../tests/support/property.ts";
import { LineEndingConverter } from "./line_endings.ts";

function convert(text: string, cuts: readonly number[]): { text: string; lines: number } {
  const converter = new LineEndingConverter();
  const bytes = new TextEncoder().encode(text);
  const decoder = new TextDecoder();
  let out = "";
  let at = 0;
  for (const cut of [...cuts, bytes.length]) {
    const end = Math.min(at + cut, bytes.length);
    out += decoder.decode(converter.push(bytes.slice(at, end)), { stream: true });
    at = end;
  }
  out += decoder.decode(converter.finish());
  return { text: out, lines: converter.lines };
}

Deno.test("LineEndingConverter turns CRLF into LF across any cut, and keeps what stands alone", () => {
  const text = fc.string({ unit: fc.constantFrom("\r", "\n", "\r\n", "a", "ä", "\0"), maxLength: 60 });
  fc.assert(
    fc.property(text, fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 40 }), (wire, cuts) => {
      const result = convert(wire, cuts);
      assert.equal(result.text, wire.replaceAll("\r\n", "\n"));
      assert.equal(result.lines, wire.split("\r\n").length - 1);
    }),
    { numRuns: 500 },
  );
});

Deno.test("LineEndingConverter keeps all bytes but CR before LF, one at a time", () => {
  const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
  const converter = new LineEndingConverter();
  const out = Array.from(bytes, (byte) => [...converter.push(Uint8Array.of(byte))]).flat();
  assert.deepEqual(out, [...bytes]);
});
