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

Deno.test("editHeader() counts no field from 0, from below or between two", () => {
  for (const index of [0, -1, -2, 1.5, 4_294_967_295]) {
    assert.equal(edited({ name: "A", index }), undefined);
    assert.equal(
      edited({ name: "A", index, value: " 5" }, { name: "a", index: 3 }, { name: "a", index }),
      "A: 1|B: 2|no field|a: 3\r\n\tx|C: 4",
    );
  }
});

Deno.test("editHeader() does as each change by itself does, and looks at no field of another name", () => {
  const names = ["A", "b", "C"];
  let seed = 7;
  const next = (below: number) => (seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648) % below;
  for (let round = 0; round < 300; round++) {
    const edits = Array.from({ length: 6 }, (): HeaderEdit => ({
      name: names[next(3)] ?? "",
      index: next(4) === 0 ? "all" : next(4),
      ...(next(2) === 0 && { value: ` ${next(3)}` }),
    }));
    let alone = FIELDS;
    for (const edit of edits) alone = editHeader(alone, [edit]) ?? alone;
    assert.deepEqual(editHeader(FIELDS, edits) ?? FIELDS, alone, JSON.stringify(edits));
  }
  let read = 0;
  const other = {
    name: "x",
    get text() {
      read++;
      return "X: 1";
    },
  };
  const fields = [...FIELDS, ...Array.from({ length: 1000 }, () => other)];
  editHeader(fields, Array.from({ length: 1000 }, (_, index) => ({ name: "a", index, value: ` ${index}` })));
  assert.equal(read, 0);
});
