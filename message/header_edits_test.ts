import assert from "node:assert/strict";
import { editHeader, type HeaderEdit } from "./header_edits.ts";
import { HeaderSection } from "./header_section.ts";

const FIELDS = HeaderSection.of("A: 1\r\nB: 2\r\nno field\r\na: 3\r\n\tx\r\nC: 4\r\n").fields;

function edited(...edits: HeaderEdit[]): string | undefined {
  return editHeader(FIELDS, edits)?.map(({ text }) => text).join("|");
}

Deno.test("editHeader() takes out, changes and adds fields", () => {
  assert.equal(edited({ name: "a", index: 1 }), "B: 2|no field|a: 3\r\n\tx|C: 4");
  assert.equal(edited({ name: "A", index: 2 }), "A: 1|B: 2|no field|C: 4");
  assert.equal(edited({ name: "A", index: "all" }), "B: 2|no field|C: 4");
  assert.equal(edited({ name: "b", index: 1, value: " 5" }), "A: 1|B: 5|no field|a: 3\r\n\tx|C: 4");
  assert.equal(edited({ name: "a", index: "all", value: " 5" }), "A: 5|B: 2|no field|a: 5|C: 4");
  assert.equal(edited({ name: "A", index: 3, value: " 5" }), "A: 1|B: 2|no field|a: 3\r\n\tx|C: 4|A: 5");
  assert.equal(edited({ name: "D", index: 1, value: " 5" }), "A: 1|B: 2|no field|a: 3\r\n\tx|C: 4|D: 5");
  // One after the other.
  assert.equal(edited({ name: "A", index: 1 }, { name: "A", index: 1 }), "B: 2|no field|C: 4");
});

Deno.test("editHeader() says so where nothing changes", () => {
  assert.equal(edited(), undefined);
  assert.equal(edited({ name: "X", index: 1 }), undefined);
  assert.equal(edited({ name: "A", index: 3 }), undefined);
  assert.equal(edited({ name: "B", index: 1, value: " 2" }), undefined);
  assert.equal(edited({ name: "", index: 1 }, { name: "no field", index: "all" }), undefined);
});
