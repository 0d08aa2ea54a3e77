import assert from "node:assert/strict";
import { parseTagList } from "./tag_list.ts";

Deno.test("parseTagList() reads tags with white space around them, and an ending semicolon", () => {
  assert.deepEqual([...parseTagList("v=DKIM1; K = rsa ;p=ab c=;") ?? []], [
    ["v", "DKIM1"],
    ["k", "rsa"],
    ["p", "ab c="],
  ]);
  assert.deepEqual([...parseTagList("p=") ?? []], [["p", ""]]);
  assert.deepEqual([...parseTagList("") ?? []], []);
});

Deno.test("parseTagList() refuses what is no tag list", () => {
  for (const text of ["v", "v=1;;p=2", "=1", "v=1; v=2", "1v=x", "v 1=2"]) {
    assert.equal(parseTagList(text), undefined, text);
  }
});
