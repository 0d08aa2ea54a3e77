import assert from "node:assert/strict";
import { fc } from "../tests/support/property.ts";
import { DataWriter } from "./data_writer.ts";

/** What goes out for a text (one byte a character), given in chunks of at most `size` bytes. */
async function written(text: string, size = 1000): Promise<string> {
  let out = "";
  const writer = new DataWriter((block) => {
    out += String.fromCharCode(...block);
    return Promise.resolve();
  });
  writer.begin();
  for (let at = 0; at < text.length; at += size) {
    await writer.write(Uint8Array.from(text.slice(at, at + size), (character) => character.charCodeAt(0)));
  }
  await writer.finish();
  return out;
}

const CASES: readonly (readonly [text: string, out: string])[] = [
  ["", ".\r\n"],
  ["a\r\n", "a\r\n.\r\n"],
  ["a", "a\r\n.\r\n"],
  [".", "..\r\n.\r\n"],
  ["..\r\n", "...\r\n.\r\n"],
  ["a\r\n.\r\n.b\r\nc.\r\n", "a\r\n..\r\n..b\r\nc.\r\n.\r\n"],
  ["\r\n\r\n", "\r\n\r\n.\r\n"],
  // Never happens; must not end the data early all the same.
  ["\n.\n", "\r\n..\r\n.\r\n"],
  ["\r.\r", " . \r\n.\r\n"],
  ["a\r", "a \r\n.\r\n"],
  ["a\r\r\n.\r\n", "a\r\n..\r\n.\r\n"],
  ["a\r\r\r\n\r\r\nb\r\rc\r\r", "a\r\n\r\nb  c  \r\n.\r\n"],
  ["a" + "\r".repeat(20) + "\n", "a" + " ".repeat(12) + "\r\n.\r\n"],
  ["\r\n\n.\r\n", "\r\n\r\n..\r\n.\r\n"],
  ["a\n\r\n\r.\n", "a\r\n\r\n .\r\n.\r\n"],
  ["\x00\xff\x80\r\n", "\x00\xff\x80\r\n.\r\n"],
];

for (const [text, out] of CASES) {
  Deno.test(`DataWriter sends ${JSON.stringify(text)} right, however it is cut`, async () => {
    for (const size of [1, 2, 3, 1000]) assert.equal(await written(text, size), out, `chunks of ${size}`);
  });
}

Deno.test("DataWriter sends large messages in bounded blocks", async () => {
  const line = `.${"x".repeat(76)}\r\n`;
  const sizes: number[] = [];
  let out = 0;
  const writer = new DataWriter((block) => {
    sizes.push(block.length);
    out += block.length;
    return Promise.resolve();
  });
  writer.begin();
  const chunk = new TextEncoder().encode(line.repeat(1000));
  for (let i = 0; i < 20; i++) await writer.write(chunk);
  await writer.finish();
  assert.equal(out, (line.length + 1) * 20_000 + 3);
  assert.ok(Math.max(...sizes) <= 64 * 1024);
});

Deno.test("DataWriter has room for all that a part may grow to, wherever a block ends", async () => {
  for (const part of [".\r\n", "\n", "\n.", ".\n", "\r", "a\r"]) {
    // As full as a block can be before the last part comes, and a little less.
    for (const before of [32_767, 32_766, 32_765, 36_863]) {
      for (const last of ["", ".", "\r"]) {
        const text = "a".repeat(before) + part.repeat(4096).slice(0, 4095) + last;
        // A byte at a time the buffer never holds more than a few beyond a block.
        assert.ok(
          await written(text, 100_000) === await written(text, 1),
          `${before} octets, ${JSON.stringify(part + last)}`,
        );
      }
    }
  }
});

Deno.test("DataWriter never emits a bare CR or LF, nor the end before the end, and is undone by unstuffing", async () => {
  const bytes = fc.array(fc.constantFrom("\r", "\n", ".", "a", "\r\n", "\0"), { maxLength: 40 });
  await fc.assert(fc.asyncProperty(bytes, fc.integer({ min: 1, max: 9 }), async (parts, size) => {
    const text = parts.join("");
    const out = await written(text, size);
    assert.doesNotMatch(out, /\r(?!\n)|(?<!\r)\n/);
    assert.ok(out === ".\r\n" || out.endsWith("\r\n.\r\n"));
    const data = out.slice(0, -3);
    assert.doesNotMatch(data, /(?:^|\r\n)\.(?:\r\n|$)/);
    const repaired = text.replaceAll(/\r{1,7}(?=\r\n)/g, "").replaceAll(/\r(?!\n)/g, " ").replaceAll(
      /(?<!\r)\n/g,
      "\r\n",
    );
    const whole = repaired === "" || repaired.endsWith("\r\n") ? repaired : `${repaired}\r\n`;
    assert.equal(data.replaceAll(/(^|\r\n)\./g, "$1"), whole);
  }));
});
