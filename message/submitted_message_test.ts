import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import { type SubmittedContent, SubmittedMessage } from "./submitted_message.ts";

const bytes = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));

function submit(text: string, cuts: readonly number[] = []): { out: string; content: SubmittedContent } {
  const submitted = new SubmittedMessage("q.test");
  const out: string[] = [];
  const take = (work: (pieces: Uint8Array[]) => void) => {
    const pieces: Uint8Array[] = [];
    work(pieces);
    for (const piece of pieces) out.push(Buffer.from(piece).toString("latin1"));
  };
  const input = bytes(text);
  let from = 0;
  for (const cut of [...cuts, input.length]) {
    const to = Math.max(from, Math.min(cut, input.length));
    // A copy that is overwritten: nothing may be kept of the chunk.
    const chunk = input.slice(from, to);
    take((pieces) => submitted.push(chunk, pieces));
    chunk.fill(0x3f);
    from = to;
  }
  take((pieces) => submitted.finish(pieces));
  return { out: out.join(""), content: submitted.content };
}

Deno.test("SubmittedMessage sees which fields are missing", () => {
  const both = submit("DATE: x\r\nMessage-Id : <a@b>\r\n\r\nSubject: body\r\n");
  assert.deepEqual([both.content.lacksDate, both.content.lacksMessageId], [false, false]);
  const none = submit("Subject: x\r\nX-Folded: a\r\n Date: no\r\n\r\nDate: body\r\nMessage-ID: <a@b>\r\n");
  assert.deepEqual([none.content.lacksDate, none.content.lacksMessageId], [true, true]);
});

Deno.test("SubmittedMessage tells 8-bit header and body apart", () => {
  const seen = (text: string) => {
    const { content: { eightBitHeader, eightBitBody } } = submit(text);
    return [eightBitHeader, eightBitBody];
  };
  assert.deepEqual(seen("A: b\r\n\r\nplain\r\n"), [false, false]);
  assert.deepEqual(seen("A: \xe9\r\n\r\nplain\r\n"), [true, false]);
  assert.deepEqual(seen("A: b\r\n\r\n\xe9\r\n"), [false, true]);
  assert.deepEqual(seen("\xe9 no header\r\n"), [false, true]);
  assert.deepEqual(seen(`A: b\r\n\r\n${"x".repeat(100_000)}\xff`), [false, true]);
});

Deno.test("SubmittedMessage completes bare addresses in the header section alone", () => {
  const { out } = submit(
    "To: alice\r\nFrom: root (Cron)\r\nSubject: bob\r\nTo-Do: carol\r\n\r\nTo: dave\r\n",
  );
  assert.equal(
    out,
    "To: alice@q.test\r\nFrom: root@q.test (Cron)\r\nSubject: bob\r\nTo-Do: carol\r\n\r\nTo: dave\r\n",
  );
});

Deno.test("SubmittedMessage parts what is no header section from the fields to come on top", () => {
  assert.equal(submit("Hello\r\nWorld\r\n").out, "\r\nHello\r\nWorld\r\n");
  assert.equal(submit(" indented: text\r\n").out, "\r\n indented: text\r\n");
  assert.equal(submit("A: b\r\nno field\r\nC: d\r\n").out, "A: b\r\n\r\nno field\r\nC: d\r\n");
  assert.equal(submit("\r\nbody\r\n").out, "\r\nbody\r\n");
  assert.equal(submit("").out, "");
  assert.equal(submit("A: b").out, "A: b");
  assert.equal(submit("word").out, "\r\nword");
  assert.equal(submit("A: b\r\n").out, "A: b\r\n");
});

Deno.test("SubmittedMessage passes a header section of 1 MB with bounded memory, and adds nothing to it", () => {
  const text = "X: y\r\n".repeat(170_000);
  const cuts = Array.from({ length: 200 }, (_, index) => index * 5_000);
  const { out, content } = submit(text, cuts);
  assert.equal(out === text, true);
  assert.deepEqual([content.lacksDate, content.lacksMessageId], [false, false]);
  assert.equal(content.eightBitHeader, false);
  assert.equal(submit(text.replace("y", "\xe9"), cuts).content.eightBitHeader, true);
});

Deno.test("SubmittedMessage keeps every byte of a header section in which it completes an address", () => {
  const all = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte)).join("").replace(
    /[\r\n]/g,
    "",
  );
  const { out } = submit(`Subject: ${all}\r\nTo: joe\r\n\r\n${all}`);
  assert.equal(out, `Subject: ${all}\r\nTo: joe@q.test\r\n\r\n${all}`);
});

Deno.test("SubmittedMessage takes for a field what has a name and a colon, white space between them too", () => {
  const character = fc.constantFrom(
    "a",
    "Z",
    "!",
    "~",
    "9",
    ":",
    " ",
    "\t",
    "\x7f",
    "\x80",
    "\xff",
    "\x1f",
    "\0",
  );
  const name = fc.oneof(
    fc.array(character, { maxLength: 6 }),
    fc.constantFrom(1, 99, 100, 101, 300).map((length) => ["x".repeat(length)]),
  );
  const space = fc.constantFrom("", " ", " \t", " ".repeat(300));
  fc.assert(
    fc.property(name, space, fc.constantFrom(":", "", ": y"), (name, space, rest) => {
      const line = `${name.join("")}${space}${rest}`;
      const isField = /^[!-9;-~]{1,100}[ \t]*:/.test(line);
      // A continuation is no matter of names.
      if (/^[ \t]/.test(line) || line === "") return;
      assert.equal(submit(`A: b\r\n${line}\r\n\r\n`).out, `A: b\r\n${isField ? "" : "\r\n"}${line}\r\n\r\n`);
    }),
    { numRuns: 2000 },
  );
});

Deno.test("SubmittedMessage gives the same however the message is cut", () => {
  const piece = fc.constantFrom(
    "A: b",
    "To: x",
    "Date: y",
    "\r\n",
    "\r\n",
    " ",
    "\xe9",
    "word",
    "\0",
    "To: \xe9 <a>",
  );
  const message = fc.array(piece, { maxLength: 20 }).map((parts) => parts.join(""));
  const cuts = fc.array(fc.nat(100), { maxLength: 8 }).map((list) => list.toSorted((a, b) => a - b));
  fc.assert(fc.property(message, cuts, (text, cuts) => {
    assert.deepEqual(submit(text, cuts), submit(text));
  }));
});

Deno.test("SubmittedMessage looks at each byte of an endless line once", () => {
  const submitted = new SubmittedMessage("q.test");
  const pieces: Uint8Array[] = [];
  for (let i = 0; i < 300_000; i++) submitted.push(bytes("x"), pieces);
  submitted.finish(pieces);
  assert.equal(pieces.reduce((sum, { length }) => sum + length, 0), 300_000);
});
