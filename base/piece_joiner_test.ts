import assert from "node:assert/strict";
import { fc } from "../tests/support/property.ts";
import { concat } from "./concat.ts";
import { PieceJoiner } from "./piece_joiner.ts";

Deno.test("PieceJoiner keeps every octet in its order, over many chunks (property)", () => {
  const part = fc.tuple(
    fc.constantFrom(0, 1, 2, 31, 32, 33, 100, 511, 512, 513, 20_000),
    fc.integer({ min: 0, max: 255 }),
  );
  fc.assert(fc.property(fc.array(fc.array(part, { maxLength: 60 }), { maxLength: 4 }), (chunks) => {
    const joiner = new PieceJoiner();
    for (const parts of chunks) {
      const whole = concat(...parts.map(([length, byte]) => new Uint8Array(length).fill(byte)));
      const pieces: Uint8Array[] = [];
      joiner.begin(pieces);
      let at = 0;
      for (const [length] of parts) joiner.add(whole, at, at += length);
      joiner.end();
      assert.deepEqual(concat(...pieces), whole);
      assert.ok(pieces.every(({ length }) => length > 0));
    }
  }));
});

Deno.test("PieceJoiner makes few pieces of many crumbs, and none of them a copy where there are few", () => {
  const joiner = new PieceJoiner();
  const chunk = new Uint8Array(64 * 1024).map((_, i) => i);
  for (const size of [1, 3, 100, 511, 513]) {
    const pieces: Uint8Array[] = [];
    joiner.begin(pieces);
    for (let at = 0; at < chunk.length; at += size) joiner.add(chunk, at, Math.min(at + size, chunk.length));
    joiner.end();
    assert.deepEqual(concat(...pieces), chunk);
    assert.ok(pieces.length <= 16 + 2 * chunk.length / 512, `${pieces.length} pieces of ${size} octets`);
  }
  const few: Uint8Array[] = [];
  joiner.begin(few);
  joiner.add(chunk, 0, 5);
  joiner.add(chunk, 6, 60_000);
  joiner.end();
  assert.ok(few.every(({ buffer }) => buffer === chunk.buffer));
});
