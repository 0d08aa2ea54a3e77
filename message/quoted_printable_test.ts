import assert from "node:assert/strict";
import { fc } from "../tests/support/property.ts";
import { cut, textOf } from "../tests/support/bytes.ts";
import { encodeQuotedPrintable, QuotedPrintableEncoder } from "./quoted_printable.ts";

const encode = (text: string) => textOf(encodeQuotedPrintable(new TextEncoder().encode(text)));

function decode(text: string): Uint8Array {
  const joined = text.replaceAll("=\r\n", "");
  const bytes: number[] = [];
  for (let i = 0; i < joined.length; i++) {
    if (joined[i] === "=") {
      bytes.push(parseInt(joined.slice(i + 1, i + 3), 16));
      i += 2;
    } else bytes.push(joined.charCodeAt(i));
  }
  return new Uint8Array(bytes);
}

Deno.test("encodeQuotedPrintable() leaves plain text readable", () => {
  assert.equal(encode("Hello, world\r\nGrüße = \r\n"), "Hello, world\r\nGr=C3=BC=C3=9Fe =3D=20\r\n");
  assert.equal(encode("a\nb\rc"), "a=0Ab=0Dc");
});

Deno.test("encodeQuotedPrintable() can be undone, in short lines of ASCII", () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.array(fc.constantFrom(13, 10, 32, 61, 65), { maxLength: 300 }).map((list) => new Uint8Array(list)),
  );
  fc.assert(fc.property(bytes, (input) => {
    const encoded = textOf(encodeQuotedPrintable(input));
    assert.deepEqual(decode(encoded), input);
    for (const line of encoded.split("\r\n")) assert.match(line, /^(?:[\t -~]{0,75}[!-~])?$/);
  }));
});

Deno.test("QuotedPrintableEncoder gives the same however the text is cut (property)", () => {
  const bytes = fc.array(fc.constantFrom(13, 10, 32, 9, 61, 65, 200), { maxLength: 300 });
  const sizes = fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 4 });
  fc.assert(fc.property(bytes, sizes, (list, sizes) => {
    const input = Uint8Array.from(list);
    const encoder = new QuotedPrintableEncoder();
    let text = "";
    for (const chunk of cut(input, sizes)) text += textOf(encoder.push(chunk));
    assert.equal(text + textOf(encoder.finish()), textOf(encodeQuotedPrintable(input)));
  }));
});
