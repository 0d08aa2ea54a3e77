import assert from "node:assert/strict";
import { fc } from "../tests/support/property.ts";
import { bytesOf, cut, textOf } from "../tests/support/bytes.ts";
import { HeaderCollector } from "./header_collector.ts";
import { HeaderFilter } from "./header_filter.ts";
import { headerFields } from "./header_section.ts";

function collect(text: string, sizes: readonly number[] = []): { fields: [string, string][]; body: string } {
  const collector = new HeaderCollector();
  let body = "";
  let inBody = false;
  for (const chunk of cut(bytesOf(text), sizes)) {
    const start = inBody ? 0 : collector.push(chunk.slice());
    if (start === undefined) continue;
    inBody = true;
    body += textOf(chunk.subarray(start));
  }
  if (!inBody) collector.finish();
  return { fields: collector.section.fields.map(({ name, text }) => [name, text]), body };
}

Deno.test("HeaderCollector collects fields as they came, wherever the pieces end", () => {
  for (const sizes of [[], [1], [2], [3], [7]]) {
    assert.deepEqual(collect("A: b\r\n\tc\r\nD : e\r\nno field\r\n\r\nbody\r\n", sizes), {
      fields: [["a", "A: b\r\n\tc"], ["d", "D : e"], ["", "no field"]],
      body: "body\r\n",
    });
    assert.deepEqual(collect("\xef\xbb\xbfA: b\r\n\r\n", sizes).fields, [["a", "A: b"]]);
    assert.deepEqual(collect("\xef\xbb\xbftext\r\n\r\n", sizes).fields, [["", "\xef\xbb\xbftext"]]);
  }
});

Deno.test("HeaderCollector sees every field that HeaderFilter leaves for a reader to see (property)", () => {
  const line = fc.constantFrom(
    "From: a",
    "From : b",
    "Return-Path: c",
    "From a b",
    ">From a b",
    "\xef\xbb\xbfFrom: d",
    "\xef\xbb\xbfFrom x",
    " : folded",
    "\t",
    "text",
    "",
  );
  const sizes = fc.array(fc.integer({ min: 1, max: 30 }), { maxLength: 4 });
  fc.assert(
    fc.property(fc.array(line, { maxLength: 8 }), sizes, (lines, sizes) => {
      const text = lines.map((line) => `${line}\r\n`).join("");
      const filter = new HeaderFilter(({ name }) => name === "return-path");
      let stored = "";
      for (const chunk of cut(bytesOf(text), sizes)) {
        const pieces: Uint8Array[] = [];
        filter.push(chunk, pieces);
        stored += pieces.map(textOf).join("");
      }
      const pieces: Uint8Array[] = [];
      filter.finish(pieces);
      stored += pieces.map(textOf).join("");
      // What readers see who end the section only at the empty line, as both do.
      const section = stored.startsWith("\r\n") ? "" : stored.split("\r\n\r\n", 1)[0] ?? "";
      const seen = collect(text).fields.map(([, text]) => text);
      for (const { name, text } of headerFields(section)) {
        if (name !== "") assert.ok(seen.includes(text), text);
      }
    }),
    { numRuns: 3000 },
  );
});
