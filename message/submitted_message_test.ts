import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { fc } from "../tests/support/property.ts";
import { cut } from "../tests/support/bytes.ts";
import { assertLinear, countSearched } from "../tests/support/counted.ts";
import { HeaderSection } from "./header_section.ts";
import {
  type SubmittedContent,
  SubmittedMessage,
  type SubmittedMessageOptions,
} from "./submitted_message.ts";

const OPTIONS: SubmittedMessageOptions = {
  qualifyDomain: "q.test",
  smtputf8: true,
  author: () => "me@q.test",
  date: () => "NOW",
  messageId: () => "<new@q.test>",
};
/** What a message without any of these gets. */
const ADDED = "Date: NOW\r\nMessage-ID: <new@q.test>\r\nFrom: me@q.test\r\n";

const bytes = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));

/** Hands in a message; what it gets on top is left out. */
function submit(text: string, cuts: readonly number[] = []): { out: string; content: SubmittedContent } {
  const submitted = new SubmittedMessage(OPTIONS);
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
  const sent = out.join("");
  return { out: sent.startsWith(ADDED) ? sent.slice(ADDED.length) : sent, content: submitted.content };
}

Deno.test("SubmittedMessage takes Bcc out after a line that is not a field, in the same paragraph only", () => {
  const cases: readonly (readonly [came: string, sent: string])[] = [
    ["Hi there\r\nBcc: x@a.test\r\nTo: b\r\n\r\nBcc: text\r\n", "\r\nHi there\r\nTo: b\r\n\r\nBcc: text\r\n"],
    ["To: b@q.test\r\noops\r\nBCC : x,\r\n\ty\r\nA: b\r\n", "To: b@q.test\r\n\r\noops\r\nA: b\r\n"],
    ["\r\nResent-Bcc: x\r\nText\r\n", "\r\nText\r\n"],
    ["\r\n\r\nBcc: x\r\n", "\r\n\r\nBcc: x\r\n"],
    ["No field\r\nBcc: x", "\r\nNo field\r\n"],
    ["No field\r\nbcc without colon\r\n\r\n", "\r\nNo field\r\nbcc without colon\r\n\r\n"],
    ["To: b@q.test\r\n\r\nBcc: text\r\n", "To: b@q.test\r\n\r\nBcc: text\r\n"],
  ];
  for (const [came, sent] of cases) {
    for (const cuts of [[], [...came].map((_, at) => at), [3], [came.length - 1]]) {
      const { out, content } = submit(came, cuts);
      assert.equal(out, sent);
      assert.equal(content.header.repairs.includes("Bcc removed"), came.length > sent.length + 2);
    }
  }
});

Deno.test("SubmittedMessage searches a bounded part of a text without header section, and passes on all of it", () => {
  const text = `Text\r\n${"line\r\n".repeat(50_000)}Bcc: text\r\n`;
  for (const cuts of [[], [7, 70_000]]) assert.equal(submit(text, cuts).out, `\r\n${text}`);
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
  const { out } = submit("To: alice\r\nSubject: bob\r\nTo-Do: carol\r\n\r\nTo: dave\r\n");
  assert.equal(out, "To: alice@q.test\r\nSubject: bob\r\nTo-Do: carol\r\n\r\nTo: dave\r\n");
});

Deno.test("SubmittedMessage parts what is not a header section from the fields to come on top", () => {
  assert.equal(submit("Hello\r\nWorld\r\n").out, "\r\nHello\r\nWorld\r\n");
  assert.equal(submit(" indented: text\r\n").out, "\r\n indented: text\r\n");
  assert.equal(submit("A: b\r\nno field\r\nC: d\r\n").out, "A: b\r\n\r\nno field\r\nC: d\r\n");
  assert.equal(submit("\r\nbody\r\n").out, "\r\nbody\r\n");
  assert.equal(submit("").out, "");
  assert.equal(submit("A: b").out, "A: b");
  assert.equal(submit("word").out, "\r\nword");
  assert.equal(submit("A: b\r\n").out, "A: b\r\n");
});

Deno.test("SubmittedMessage takes a header section of 1 MB", () => {
  const text = "X: y\r\n".repeat(170_000);
  const cuts = Array.from({ length: 200 }, (_, index) => index * 5_000);
  const { out, content } = submit(text, cuts);
  assert.equal(out === text, true);
  assert.equal(content.eightBitHeader, false);
  assert.equal(submit(text.replace("y", "\xe9"), cuts).content.eightBitHeader, true);
});

Deno.test("SubmittedMessage gives fields and body to whoever begins with them", () => {
  let body = "";
  let fields: string[] = [];
  const submitted = new SubmittedMessage({
    ...OPTIONS,
    begin: (section: HeaderSection) => {
      fields = section.fields.map(({ text }) => text);
      return { push: (chunk) => void (body += new TextDecoder().decode(chunk)) };
    },
  });
  for (const part of ["Date: x\r\nBcc: y\r\nTo: a", "lice\r\n\r", "\nHello\r\n", "\r\nworld"]) {
    submitted.push(bytes(part), []);
  }
  submitted.finish([]);
  assert.deepEqual(fields, ["Message-ID: <new@q.test>", "From: me@q.test", "Date: x", "To: alice@q.test"]);
  assert.equal(body, "Hello\r\n\r\nworld");
});

Deno.test("SubmittedMessage sees lines of more than 998 octets in the body, wherever it is cut", () => {
  const cases: readonly (readonly [body: string, long: boolean])[] = [
    ["x".repeat(998) + "\r\n", false],
    ["x".repeat(999) + "\r\n", true],
    ["x".repeat(998), false],
    ["x".repeat(999), true],
    [("x".repeat(998) + "\r\n").repeat(5) + "x".repeat(998), false],
    [("x".repeat(78) + "\r\n").repeat(500), false],
    [("x".repeat(78) + "\r\n").repeat(500) + "x".repeat(999) + "\r\ny\r\n", true],
    ["\r\n".repeat(3000) + "x".repeat(999) + "\r\n", true],
  ];
  for (const [body, long] of cases) {
    for (const cuts of [[], [6, 7, 8], [500], [1003, 1004, 1005, 1006], [1006, 2006], [5000, 10_000]]) {
      const { content } = submit(`A: b\r\n\r\n${body}`, cuts);
      assert.equal(content.longLines, long, `${body.length} ${cuts}`);
    }
  }
  const header = submit(`A: ${"x".repeat(2000)}\r\n\r\nbody\r\n`);
  assert.equal(header.content.longLines, false);
});

Deno.test("SubmittedMessage looks for line ends in a bounded part of a body", () => {
  for (const form of ["x", "\r\n", `${"x".repeat(998)}\r\n`, "x\r\n"]) {
    assertLinear((count) => {
      const submitted = new SubmittedMessage(OPTIONS);
      submitted.push(bytes("A: b\r\n\r\n"), []);
      let total = 0;
      for (const chunk of cut(bytes(form.repeat(count / form.length)), [3000])) {
        total += countSearched(() => submitted.push(chunk, []));
      }
      return total + count;
    }, { count: 50_000, what: form.slice(0, 5) });
  }
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
      const isField = /^[!-9;-~]+[ \t]*:/.test(line);
      // A continuation is not a matter of names.
      if (/^[ \t]/.test(line) || line === "") return;
      if (/^(?:date|from|to|cc|sender|message-id)[ \t]*:/i.test(line)) return;
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
  const submitted = new SubmittedMessage(OPTIONS);
  const pieces: Uint8Array[] = [];
  for (let i = 0; i < 300_000; i++) submitted.push(bytes("x"), pieces);
  submitted.finish(pieces);
  assert.equal(pieces.reduce((sum, { length }) => sum + length, 0), ADDED.length + 2 + 300_000);
});
