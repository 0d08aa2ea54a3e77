import assert from "node:assert/strict";
import { fc } from "../tests/support/property.ts";
import { bytesOf, cut, textOf } from "../tests/support/bytes.ts";
import { assertLinear, countSearched } from "../tests/support/counted.ts";
import { HeaderReader, headerStart, splitMessage } from "./split_message.ts";

function split(text: string, sizes: readonly number[] = []): [section: string, rest: string, by: string] {
  const reader = new HeaderReader();
  const chunks = [...cut(bytesOf(text), sizes)];
  for (const [index, chunk] of chunks.entries()) {
    const found = reader.push(chunk.slice());
    if (found === undefined) continue;
    const behind = chunks.slice(index + 1).map(textOf).join("");
    return [textOf(found.section), textOf(found.rest) + behind, found.by];
  }
  const { section, rest, by } = reader.finish();
  return [textOf(section), textOf(rest), by];
}

const CASES: readonly (readonly [text: string, section: string, rest: string, by: string])[] = [
  ["A: b\r\n\r\nc\r\n", "A: b\r\n", "c\r\n", "empty line"],
  ["A: b\nC: d\n\ne\n", "A: b\nC: d\n", "e\n", "empty line"],
  ["A: b\r\r\n\r\r\nc", "A: b\r\r\n", "c", "empty line"],
  ["\r\nA: b\r\n", "", "A: b\r\n", "empty line"],
  ["A: b\r\n\tc\r\nno field\r\nD: e\r\n", "A: b\r\n\tc\r\n", "no field\r\nD: e\r\n", "other line"],
  [" a: b\r\n", "", " a: b\r\n", "other line"],
  ["word", "", "word", "other line"],
  ["A: b", "A: b", "", "end"],
  ["A: b\r\n", "A: b\r\n", "", "end"],
  ["", "", "", "end"],
];

Deno.test("HeaderReader cuts a message after its header section, wherever the pieces end", () => {
  for (const [text, ...parts] of CASES) {
    for (const sizes of [[], [1], [2], [3], [5]]) assert.deepEqual(split(text, sizes), parts, text);
  }
});

Deno.test("splitMessage() does the same at once (property)", () => {
  const piece = fc.constantFrom("A: b", "\r\n", "\n", "\r", " ", "\t", "word", ":", "\xff");
  const sizes = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 });
  fc.assert(fc.property(fc.array(piece, { maxLength: 20 }), sizes, (pieces, sizes) => {
    const text = pieces.join("");
    const { section, rest, by } = splitMessage(bytesOf(text));
    assert.deepEqual(split(text, sizes), [textOf(section), textOf(rest), by]);
  }));
});

Deno.test("HeaderReader looks for each line end once, a byte at a time too", () => {
  for (const size of [1, 1000, Infinity]) {
    for (const form of ["A: b\r\n", "x", " ", "\r", "A:\r\n b\r\n"]) {
      assertLinear((count) =>
        countSearched(() => {
          const reader = new HeaderReader();
          for (const chunk of cut(bytesOf(`A: ${form.repeat(count / form.length)}`), [size])) {
            reader.push(chunk);
          }
        }), { count: 12_000, what: `${form} ${size}` });
    }
  }
});

Deno.test("headerStart() is after a byte order mark and lines of an mbox file, where a field follows", () => {
  const start = (text: string) => headerStart(bytesOf(text));
  assert.equal(start("A: b\n"), 0);
  assert.equal(start("From a@b Tue Nov 24\nA: b\n"), 20);
  assert.equal(start(">From a\r\nFrom b\r\nA: b"), 17);
  assert.equal(start("\xef\xbb\xbfA: b\n"), 3);
  assert.equal(start("\xef\xbb\xbfFrom a\nA: b\n"), 10);
  assert.equal(start("From now on\nall is well\n"), 0);
  assert.equal(start("From now on\n\nA: b\n"), 0);
  assert.equal(start("From now on"), 0);
  assert.equal(start("\xef\xbb\xbftext"), 0);
  assert.equal(start(""), 0);
});
