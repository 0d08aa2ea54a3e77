import assert from "node:assert/strict";
import { HeaderSection } from "../message/header_section.ts";
import { relaxField, signedNames } from "./header.ts";

function relaxed(section: string): (string | undefined)[] {
  return HeaderSection.of(section).fields.map(relaxField);
}

Deno.test("relaxField() gives the relaxed form of RFC 6376 §3.4.2", () => {
  // The example of §3.4.5.
  assert.deepEqual(relaxed("A: X\r\nB : Y\t\r\n\tZ  \r\n"), ["a:X", "b:Y Z"]);
  assert.deepEqual(relaxed("Subject:\t\u00a0a\u00a0 \r\n"), ["subject:\u00a0a\u00a0"]);
  assert.deepEqual(relaxed("Empty:"), ["empty:"]);
  assert.deepEqual(relaxed("Empty: \r\n \r\n"), ["empty:"]);
  assert.deepEqual(relaxed("a:b:c"), ["a:b:c"]);
});

Deno.test("relaxField() rejects a line that is not a field", () => {
  for (const line of [":", "no colon", "two words: x", "\xe9: x"]) {
    assert.deepEqual(relaxed(line), [undefined], line);
  }
});

Deno.test("signedNames() signs what is there, and what must not be added", () => {
  const names = signedNames(HeaderSection.of(
    "Received: x\r\nReturn-Path: x\r\nFrom: x\r\nTo: x\r\nTo: y\r\nSubject: x\r\nDate: x\r\nMessage-ID: x\r\n" +
      "Content-Type: x\r\nContent-Odd: x\r\nList-Id: x\r\nResent-To: x\r\nX-Own: x\r\nDKIM-Signature: x\r\n",
  ));
  const times = (name: string) => names.filter((signed) => signed.toLowerCase() === name).length;
  for (const name of ["from", "subject", "date", "message-id", "content-type", "content-odd", "list-id"]) {
    assert.equal(times(name), 2, name);
  }
  assert.equal(times("to"), 3);
  assert.equal(times("resent-to"), 1);
  for (const name of ["received", "return-path", "x-own", "dkim-signature", "resent-from", "feedback-id"]) {
    assert.equal(times(name), 0, name);
  }
  assert.deepEqual(
    names.filter((name, index) => names.indexOf(name) !== index && times(name.toLowerCase()) === 1),
    [],
  );
});

Deno.test("signedNames() lets no one add what decides who wrote a message, how it is read, or what a button does", () => {
  const names = signedNames(HeaderSection.of("From: x\r\n")).map((name) => name.toLowerCase());
  for (
    const name of [
      ...["sender", "reply-to", "to", "cc", "subject", "date", "message-id", "in-reply-to", "references"],
      ...["mime-version", "content-type", "content-transfer-encoding", "content-disposition"],
      ...["content-description", "content-id", "content-language", "content-location", "content-base"],
      ...["list-unsubscribe", "list-unsubscribe-post", "list-id", "list-help", "list-archive"],
    ]
  ) assert.equal(names.filter((signed) => signed === name).length, 1, name);
});
