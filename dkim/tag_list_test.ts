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

Deno.test("parseTagList() refuses what is not a tag list", () => {
  for (const text of ["v", "v=1;;p=2", "=1", "v=1; v=2", "1v=x", "v 1=2"]) {
    assert.equal(parseTagList(text), undefined, text);
  }
});

Deno.test("parseTagList() takes a hundred tags, and no more", () => {
  const tags = (count: number) => Array.from({ length: count }, (_, i) => `t${i}=x`).join(";");
  for (const end of ["", ";", " ; "]) {
    assert.equal(parseTagList(tags(100) + end)?.size, 100);
    assert.equal(parseTagList(tags(101) + end), undefined);
  }
  assert.equal(parseTagList(tags(10_000)), undefined);
});

Deno.test("parseTagList() tells names in upper case apart where they are other names", () => {
  assert.deepEqual([...parseTagList("v=1; V=2", { caseSensitive: true }) ?? []], [["v", "1"], ["V", "2"]]);
});

Deno.test("parseTagList() takes only folding white space for white space", () => {
  assert.deepEqual([...parseTagList("a=\u00a0x\u00a0;\r\n\t b=\r\n c\r\n ") ?? []], [["a", "\u00a0x\u00a0"], [
    "b",
    "c",
  ]]);
  assert.equal(parseTagList("\u00a0a=x"), undefined);
});

Deno.test("parseTagList() takes long runs of white space in one pass", () => {
  // Quadratic work on this would take hours.
  const run = " \t".repeat(1_000_000);
  assert.deepEqual([...parseTagList(`${run}a${run}=${run}x${run}y${run};${run}`) ?? []], [["a", `x${run}y`]]);
});
