import assert from "node:assert/strict";
import { namedRecipients, withAuthor } from "./submission.ts";

const encoder = new TextEncoder();
const recipients = (text: string) => namedRecipients(encoder.encode(text));
const authored = (text: string, name = "Me") =>
  new TextDecoder().decode(withAuthor(encoder.encode(text), { address: "me", name }));

Deno.test("namedRecipients() takes To, Cc and Bcc of the header section, each address once", () => {
  const message =
    "From: a@x.test\nTo: b@x.test,\n c@x.test\nBCC : d@x.test\nCc: B <b@x.test>\n\nTo: e@x.test\n";
  for (const end of ["\n", "\r\n", "\r\r\n"]) {
    assert.deepEqual(recipients(message.replaceAll("\n", end)), ["b@x.test", "c@x.test", "d@x.test"]);
  }
  assert.deepEqual(recipients(`To${" ".repeat(200)}: "Ü" <ü@x.test>\n`), ["ü@x.test"]);
  assert.deepEqual(recipients("To: a\\(b@x.test (x), Friends: c@x.test, d;\n"), [
    "a\\(b@x.test",
    "c@x.test",
    "d",
  ]);
});

Deno.test("namedRecipients() takes Resent fields where there are any", () => {
  const text = "From: a\nTo: b@x.test\nResent-From: me\nResent-To: c@x.test\nResent-Bcc: d@x.test\n\nHi\n";
  assert.deepEqual(recipients(text), ["c@x.test", "d@x.test"]);
});

Deno.test("namedRecipients() skips the leading lines of an mbox file, and does not read text", () => {
  assert.deepEqual(recipients("From a Mon Jan 1\n>From b\nTo: a@x.test\n\nHi\n"), ["a@x.test"]);
  assert.deepEqual(recipients("\ufeffTo: a@x.test\n\nHi\n"), ["a@x.test"]);
  assert.deepEqual(recipients("Hello there\nTo: a@x.test\n"), []);
  assert.deepEqual(recipients("\nTo: a@x.test\n"), []);
  assert.deepEqual(recipients(""), []);
});

Deno.test("withAuthor() puts From on top where there is none", () => {
  assert.equal(authored("Subject: x\n\nHi\n"), 'From: "Me" <me>\r\nSubject: x\n\nHi\n');
  assert.equal(authored("From:\nSubject: x\n\nHi\n"), 'From: "Me" <me>\r\nFrom:\nSubject: x\n\nHi\n');
  assert.equal(authored("From a Mon Jan 1\nSubject: x\n\nHi\n"), 'From: "Me" <me>\r\nSubject: x\n\nHi\n');
  assert.equal(authored(""), 'From: "Me" <me>\r\n');
  for (const text of ["Hi\nSubject: x\n", " indented: x\n", "Hi"]) {
    assert.equal(authored(text), `From: "Me" <me>\r\n\r\n${text}`);
  }
  assert.equal(authored("\r\nHi\n"), 'From: "Me" <me>\r\n\r\nHi\n');
  const whole = "Subject: x\nFROM : a\n\nHi\n";
  assert.equal(authored(whole), whole);
});

Deno.test("withAuthor() writes any name as one phrase", () => {
  const from = (name: string) => authored("\n", name).split("\r\n\r\n")[0];
  assert.equal(from('The "Boss"'), 'From: "The \\"Boss\\"" <me>');
  assert.equal(from("Jürgen\r\nX: y"), "From: =?utf-8?B?SsO8cmdlbiBYOiB5?= <me>");
});
