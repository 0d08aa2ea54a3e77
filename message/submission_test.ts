import assert from "node:assert/strict";
import { readSubmission, type SubmissionOptions } from "./submission.ts";

function read(text: string, options: Partial<SubmissionOptions> = {}) {
  const input = new TextEncoder().encode(text);
  const { message, ...rest } = readSubmission(input, { fromHeader: false, author: "me", ...options });
  return { ...rest, text: new TextDecoder().decode(message) };
}

Deno.test("readSubmission() takes the recipients from To, Cc and Bcc, and drops Bcc", () => {
  const text =
    "From: a@x.test\nTo: b@x.test,\n c@x.test\nBCC: d@x.test\nCc: B <b@x.test>\nSubject: x\n\nHi\n";
  const submission = read(text, { fromHeader: true });
  assert.deepEqual(submission.recipients, ["b@x.test", "c@x.test", "d@x.test"]);
  assert.equal(
    submission.text,
    "From: a@x.test\nTo: b@x.test,\n c@x.test\nCc: B <b@x.test>\nSubject: x\n\r\nHi\n",
  );
});

Deno.test("readSubmission() drops Bcc, folded too, also where recipients are named elsewhere", () => {
  const submission = read("From: a\nBcc: d@x.test,\n e@x.test\nTo: b\n\nHi\n");
  assert.deepEqual(submission.recipients, []);
  assert.equal(submission.text, "From: a\nTo: b\n\r\nHi\n");
});

Deno.test("readSubmission() takes Resent fields where there are any", () => {
  const text = "From: a\nTo: b@x.test\nResent-From: me\nResent-To: c@x.test\nResent-Bcc: d@x.test\n\nHi\n";
  const submission = read(text, { fromHeader: true });
  assert.deepEqual(submission.recipients, ["c@x.test", "d@x.test"]);
  assert(!submission.text.includes("Bcc"));
});

Deno.test("readSubmission() adds From where there is none", () => {
  assert.equal(read("Subject: x\n\nHi\n").text, "From: me\r\nSubject: x\n\r\nHi\n");
  assert.equal(read("\nHi\n", { fullName: 'The "Boss"' }).text, 'From: "The \\"Boss\\"" <me>\r\n\r\nHi\n');
  assert.equal(
    read("\nHi\n", { fullName: "Jürgen\r\nX: y" }).text,
    "From: =?UTF-8?B?SsO8cmdlbiBYOiB5?= <me>\r\n\r\nHi\n",
  );
});

Deno.test("readSubmission() takes what begins with no header field as the body", () => {
  assert.equal(
    read("Hello there\nBcc: not a field\n").text,
    "From: me\r\n\r\nHello there\nBcc: not a field\n",
  );
  assert.equal(read("").text, "From: me\r\n\r\n");
  assert.equal(read("Subject: x").text, "From: me\r\nSubject: x\r\n\r\n");
  assert.equal(read("Subject: x\nHello there\n").text, "From: me\r\nSubject: x\n\r\nHello there\n");
});

Deno.test("readSubmission() skips the line of an mbox file", () => {
  assert.equal(read("From a Mon Jan 1\nFrom: a\n\nHi\n").text, "From: a\n\r\nHi\n");
});

Deno.test("readSubmission() keeps CRLF and says where there is a byte above 127", () => {
  assert.deepEqual(read("From: a\r\nSubject: ü\r\n\r\nHi\r\n"), {
    recipients: [],
    text: "From: a\r\nSubject: ü\r\n\r\nHi\r\n",
    eightBitHeader: true,
  });
  assert.equal(read("From: a\n\nü\n").eightBitHeader, false);
});
