import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { fc } from "../tests/support/property.ts";
import { charsetOf, encodePhrase, encodeUnstructured, encodeWords } from "./encoded_word.ts";

const latin1 = (text: string) => Buffer.from(text).toString("latin1");

/** What a reader makes of a value, after RFC 2047 §6 alone. */
function decode(value: string): string {
  const word = String.raw`=\?([^? ]+)\?([BbQq])\?([^? ]*)\?=`;
  const joined = value.replaceAll("\r\n", "").replace(
    new RegExp(`(${word})[ \\t]+(?=${word})`, "g"),
    "$1",
  );
  return joined.replace(new RegExp(word, "g"), (_, charset: string, encoding: string, text: string) => {
    const bytes = /b/i.test(encoding) ? Buffer.from(text, "base64") : Buffer.from(
      text.replaceAll("_", " ").replace(
        /=([0-9A-F]{2})/g,
        (_, hex: string) => String.fromCharCode(parseInt(hex, 16)),
      ),
      "latin1",
    );
    return charset === "utf-8" ? bytes.toString() : bytes.toString("latin1");
  });
}

Deno.test("encodeUnstructured() encodes what is not ASCII, and leaves the words around it", () => {
  const encode = (text: string) => encodeUnstructured(latin1(text), { charset: "utf-8", label: "Subject:" });
  assert.equal(
    encode(" Grüße aus Köln, alles gut"),
    " =?utf-8?B?R3LDvMOfZSBhdXMgS8O2bG4s?= alles gut",
  );
  assert.equal(encode(" Re: 日本語"), " Re: =?utf-8?B?5pel5pys6Kqe?=");
  assert.equal(encode(" plain"), " plain");
  assert.equal(encode(" It is a long way to Köln"), " It is a long way to =?utf-8?B?S8O2bG4=?=");
  // An encoded word that is there stays, and the space beside it is kept.
  assert.equal(encode(" =?utf-8?Q?a?= ü x"), " =?utf-8?Q?a?= =?utf-8?B?IMO8?= x");
  assert.equal(decode(encode(" =?utf-8?Q?a?= ü =?utf-8?Q?b?=")), " a ü b");
});

Deno.test("encodeUnstructured() makes short lines of ASCII that decode to the same text (property)", () => {
  const word = fc.oneof(
    fc.string({
      unit: fc.constantFrom(..."abcXYZ019=?_.,é€日\u{1f4ee}".split(/(?:)/u)),
      minLength: 1,
      maxLength: 60,
    }),
    fc.constantFrom("Re:", "[list]", "word", "é", "=?utf-8?q?=C3=A9?="),
  );
  fc.assert(
    fc.property(fc.array(word, { minLength: 1, maxLength: 30 }), (words) => {
      const value = ` ${words.join(" ")}`;
      const encoded = encodeUnstructured(latin1(value), { charset: "utf-8", label: "Subject:" });
      assert.match(encoded, /^[\r\n -~]*$/);
      assert.equal(decode(encoded), decode(value));
      const lines = `Subject:${encoded}`.split("\r\n");
      for (const line of lines) {
        if (/=\?utf-8\?[BQ]\?/.test(line)) {
          assert.ok(line.replace(/\?= [^=]*$/, "?=").length <= 76 || line.length <= 998);
        }
        assert.notEqual(line.trim(), "");
      }
    }),
    { numRuns: 2000 },
  );
});

Deno.test("encodeWords() holds whole characters in each word, at most 75 characters", () => {
  const text = latin1("日本語".repeat(100));
  const lines = encodeWords({ text, charset: "utf-8" }).split("\r\n ");
  assert.ok(lines.length > 5);
  for (const word of lines) {
    assert.ok(word.length <= 75);
    assert.doesNotMatch(decode(word), /\ufffd/);
  }
  assert.equal(decode(lines.join(" ")), "日本語".repeat(100));
  const odd = encodeWords({
    text: "\xe9".repeat(200),
    charset: "x-a-very-long-name-of-a-character-set-0000",
  });
  for (const word of odd.split("\r\n ")) assert.ok(word.length <= 75);
  assert.equal(decode(odd), "\xe9".repeat(200));
});

Deno.test("charsetOf() takes UTF-8, then what the message declares, then none", () => {
  assert.equal(charsetOf("plain", undefined), "utf-8");
  assert.equal(charsetOf("\xc3\xbc", "iso-8859-1"), "utf-8");
  assert.equal(charsetOf("\xfc", "iso-8859-1"), "iso-8859-1");
  for (const declared of [undefined, "utf-8", "UTF8", "us-ascii", "", "a b", "x".repeat(41), "a?b"]) {
    assert.equal(charsetOf("\xfc", declared), "unknown-8bit");
  }
});

Deno.test("encodePhrase() quotes what is ASCII", () => {
  assert.equal(encodePhrase({ text: 'The "Boss"', charset: "utf-8" }), '"The \\"Boss\\""');
  assert.equal(encodePhrase({ text: latin1("Jürgen"), charset: "utf-8" }), "=?utf-8?Q?J=C3=BCrgen?=");
});
