import assert from "node:assert/strict";
import { HeaderSection } from "../message/header_section.ts";
import { relaxField, signedNames, signingInput } from "./header.ts";

function fieldsOf(section: string) {
  return HeaderSection.of(section).fields.map(({ text }) => relaxField(text)).filter((field) =>
    field !== undefined
  );
}

Deno.test("relaxField() gives the relaxed form of RFC 6376 §3.4.2", () => {
  // The example of §3.4.5.
  assert.deepEqual(fieldsOf("A: X\r\nB : Y\t\r\n\tZ  \r\n"), [
    { name: "a", text: "a:X" },
    { name: "b", text: "b:Y Z" },
  ]);
  assert.equal(relaxField("Subject:\t\u00a0a\u00a0 \r\n")?.text, "subject:\u00a0a\u00a0");
  assert.equal(relaxField("Empty:")?.text, "empty:");
  assert.equal(relaxField("Empty: \r\n \r\n")?.text, "empty:");
  assert.equal(relaxField("a:b:c")?.text, "a:b:c");
});

Deno.test("relaxField() takes no line that is no field", () => {
  for (const line of ["", ":", "no colon", "two words: x", "\xe9: x"]) {
    assert.equal(relaxField(line), undefined, line);
  }
});

Deno.test("signedNames() signs what is there, and what must not be added", () => {
  const names = signedNames(fieldsOf(
    "Received: x\r\nReturn-Path: x\r\nFrom: x\r\nTo: x\r\nTo: y\r\nSubject: x\r\nDate: x\r\nMessage-ID: x\r\n" +
      "Content-Type: x\r\nList-Id: x\r\nX-Own: x\r\nDKIM-Signature: x\r\n",
  ));
  assert.equal(
    names.join(":"),
    "From:From:Reply-To:To:To:To:Cc:Subject:Subject:Date:Date:Message-ID:Message-ID:Content-Type:Content-Type:List-Id",
  );
});

Deno.test("signingInput() takes fields from below, and none where there is none left", () => {
  const fields = fieldsOf("To: first\r\nFrom: x\r\nTo: second\r\n");
  const input = signingInput(fields, {
    names: ["to", "Cc", "TO", "From", "to"],
    signature: "DKIM-Signature: v=1;\r\n\tb=",
  });
  assert.equal(input, "to:second\r\nto:first\r\nfrom:x\r\ndkim-signature:v=1; b=");
});
