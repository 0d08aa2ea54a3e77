import assert from "node:assert/strict";
import { maskUnprintable, wrap } from "./wrap.ts";

Deno.test("wrap() breaks at spaces, as late as the width allows", () => {
  assert.deepEqual(wrap("one two three", { width: 7 }), ["one two", "three"]);
  assert.deepEqual(wrap("one two three", { width: 13 }), ["one two three"]);
  assert.deepEqual(wrap("one two three", { width: 12 }), ["one two", "three"]);
  assert.deepEqual(wrap(""), [""]);
  assert.equal(wrap("word ".repeat(100).trim()).every((line) => line.length <= 76), true);
});

Deno.test("wrap() counts the indent into the width", () => {
  assert.deepEqual(wrap("one two three", { width: 9, indent: "  " }), ["  one two", "  three"]);
  assert.deepEqual(wrap("one two three", { width: 9, firstIndent: "* ", indent: "    " }), [
    "* one two",
    "    three",
  ]);
});

Deno.test("wrap() leaves a long word on its own line, or cuts it between characters", () => {
  assert.deepEqual(wrap("a bbbbbbbb c", { width: 4 }), ["a", "bbbbbbbb", "c"]);
  assert.deepEqual(wrap("a bbbbbbbb c", { width: 4, longest: 3 }), ["a", "bbb", "bbb", "bb c"]);
  assert.deepEqual(wrap("\u{1f4ee}".repeat(3), { width: 4, longest: 3 }), Array(3).fill("\u{1f4ee}"));
});

Deno.test("maskUnprintable() masks what moves a cursor, hides text or adds a line", () => {
  assert.equal(maskUnprintable("a\r\nb\u001b[2J\u202ec\u2028d\u0085e\u00ad"), "a??b?[2J?c?d?e?");
  assert.equal(maskUnprintable("Grüße \u{1f4ee}"), "Grüße \u{1f4ee}");
});
