import assert from "node:assert/strict";
import { normalizePem, withoutByteOrderMark } from "./text_file.ts";

Deno.test("withoutByteOrderMark() takes off one mark, and nothing else", () => {
  assert.equal(withoutByteOrderMark("\ufeffsecret"), "secret");
  assert.equal(withoutByteOrderMark(" secret "), " secret ");
  assert.equal(withoutByteOrderMark("se\ufeffcret"), "se\ufeffcret");
  assert.equal(withoutByteOrderMark(""), "");
});

Deno.test("normalizePem() leaves nothing around the lines, nor around all of them", () => {
  const pem = "-----BEGIN X-----\nProc-Type: 4,ENCRYPTED\n\nMIIB\n-----END X-----\n";
  for (
    const text of [
      "\ufeff-----BEGIN X-----  \r\nProc-Type: 4,ENCRYPTED\r\n \r\nMIIB \t\r\n\t-----END X-----\u00a0",
      pem.replaceAll("\n", "\r"),
      `\r\n \n\n${pem}\n\t\n`,
      pem,
    ]
  ) assert.equal(normalizePem(text), pem);
});
