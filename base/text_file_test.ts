import assert from "node:assert/strict";
import { normalizePem, withoutByteOrderMark } from "./text_file.ts";

Deno.test("withoutByteOrderMark() takes off one mark, and nothing else", () => {
  assert.equal(withoutByteOrderMark("\ufeffsecret"), "secret");
  assert.equal(withoutByteOrderMark(" secret "), " secret ");
  assert.equal(withoutByteOrderMark("se\ufeffcret"), "se\ufeffcret");
  assert.equal(withoutByteOrderMark(""), "");
});

Deno.test("normalizePem() leaves nothing around the lines", () => {
  assert.equal(
    normalizePem("\ufeff-----BEGIN X-----  \r\nMIIB \t\r\n\t-----END X-----\u00a0"),
    [
      "-----BEGIN X-----",
      "MIIB",
      "-----END X-----",
    ].join("\n"),
  );
});
