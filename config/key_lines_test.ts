import assert from "node:assert/strict";
import { lineOfKey } from "./key_lines.ts";

const TEXT = `top = 1
[a]
"quoted key" = 2 # x = 3
c.d = """
e = 4
"""
[ a . "b.c" ]
f = { g = 1 }
list = [
  1,
]`;

Deno.test("lineOfKey() finds keys, tables and the nearest above", () => {
  assert.equal(lineOfKey(TEXT, ["top"]), 1);
  assert.equal(lineOfKey(TEXT, ["a"]), 2);
  assert.equal(lineOfKey(TEXT, ["a", "quoted key"]), 3);
  assert.equal(lineOfKey(TEXT, ["a", "c", "d"]), 4);
  assert.equal(lineOfKey(TEXT, ["a", "e"]), 2);
  assert.equal(lineOfKey(TEXT, ["a", "b.c", "f", "g"]), 8);
  assert.equal(lineOfKey(TEXT, ["a", "b.c", "list", 0]), 9);
  assert.equal(lineOfKey(TEXT, ["none"]), undefined);
});
