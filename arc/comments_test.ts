import assert from "node:assert/strict";
import { withoutComments } from "./comments.ts";

Deno.test("withoutComments() puts a space for each comment, and leaves what is none", () => {
  const cases: readonly (readonly [text: string, expected: string])[] = [
    ["", ""],
    ["i=1; a=b", "i=1; a=b"],
    ["(x) i (y)=(z)1", "  i  = 1"],
    ["(a (nested \\) \\( one) comment)i=1", " i=1"],
    ["()()i=1", "  i=1"],
    ["i=1; (unclosed", "i=1; (unclosed"],
    ["i=1; (unclosed (nested)", "i=1; (unclosed (nested)"],
    ["i=1) x", "i=1) x"],
    ["i=1 \\(x)", "i=1 \\ "],
    ["(ends in a backslash\\", "(ends in a backslash\\"],
  ];
  for (const [text, expected] of cases) assert.equal(withoutComments(text), expected, text);
});

Deno.test("withoutComments() leaves what stands behind the end that is asked for", () => {
  assert.equal(withoutComments("(a;b)i=1 (c); x (d); y", { until: ";" }), " i=1  ; x (d); y");
  assert.equal(withoutComments("i=1 (c;", { until: ";" }), "i=1 (c;");
});
