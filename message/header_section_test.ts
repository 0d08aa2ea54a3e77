import assert from "node:assert/strict";
import { fc } from "../tests/support/property.ts";
import { bytesOf } from "../tests/support/bytes.ts";
import { assertLinear, countedBytes } from "../tests/support/counted.ts";
import { unfold } from "./header_field.ts";
import { fieldValue, headerFields } from "./header_section.ts";

Deno.test("headerFields() reads names in lower case, white space before the colon, and continuations", () => {
  assert.deepEqual(headerFields("To: a\r\nSUBJECT \t: b\r\n\tc\r\n d\r\nX:\r\n"), [
    { name: "to", text: "To: a" },
    { name: "subject", text: "SUBJECT \t: b\r\n\tc\r\n d" },
    { name: "x", text: "X:" },
  ]);
  assert.deepEqual(headerFields(bytesOf("A: b\nC: d\n e")).map(({ name, text }) => [name, text]), [
    ["a", "A: b"],
    ["c", "C: d\n e"],
  ]);
  assert.deepEqual(headerFields(`A${" ".repeat(3000)}: b`)[0]?.name, "a");
  assert.deepEqual(headerFields(`${"n".repeat(3000)}: b`)[0]?.name, "n".repeat(3000));
});

Deno.test("headerFields() gives no name to what is not a field", () => {
  for (
    const line of [
      "no field",
      ": x",
      " folded: x",
      "a b: c",
      "a\u00a0: b",
      "\xff: b",
      "a\0: b",
      "name\r\n : the colon stands in a continuation",
    ]
  ) assert.deepEqual(headerFields(line), [{ name: "", text: line }], line);
  assert.deepEqual(headerFields(""), []);
});

Deno.test("fieldValue() and unfold() give the value without its folding", () => {
  const [field] = headerFields("A: b\r\n\tc:d\r\n\r\n e");
  assert.ok(field !== undefined);
  assert.equal(fieldValue(field), " b\r\n\tc:d");
  assert.equal(unfold(fieldValue(field)), " b\tc:d");
});

Deno.test("headerFields() loses nothing of a section (property)", () => {
  const line = fc.constantFrom("A: b", " c", "\td", "no field", "B :", ":", "x".repeat(100));
  fc.assert(fc.property(fc.array(line, { minLength: 1, maxLength: 20 }), (lines) => {
    const section = lines.join("\r\n");
    assert.equal(headerFields(section).map(({ text }) => text).join("\r\n"), section);
  }));
});

Deno.test("headerFields() looks at each octet a bounded number of times", () => {
  for (const form of ["A: b\r\n", " \r\n", "\r\n", "\n", "x", ":", "A:\r\n b\r\n", "\t", "\r"]) {
    assertLinear((count) => {
      const { input, steps } = countedBytes(bytesOf(`A: b\r\n${form.repeat(count)}`));
      // A text is read as bytes; these count.
      headerFields(input);
      return steps();
    }, { what: JSON.stringify(form) });
  }
});
