import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { HeaderSection } from "../message/header_section.ts";
import { SignedFields, SignedTooMuchError } from "./signed_fields.ts";

Deno.test("SignedFields.input() takes fields from below, and none where there is none left", () => {
  const fields = new SignedFields(HeaderSection.of("To: first\r\nFrom: x\r\nTo: second\r\n"));
  const input = fields.input({
    names: ["to", "cc", "to", "from", "to"],
    canonicalization: "relaxed",
    signature: { name: "dkim-signature", text: "DKIM-Signature: v=1;\r\n\tb=abc" },
  });
  assert.equal(
    Buffer.from(input).toString("latin1"),
    "to:second\r\nto:first\r\nfrom:x\r\ndkim-signature:v=1; b=",
  );
});

Deno.test("SignedFields gives out no more than it may", () => {
  const section = HeaderSection.of(`A: ${"x".repeat(97)}\r\nB: y\r\n`);
  const signature = { name: "dkim-signature", text: "DKIM-Signature: b=abc" };
  // Line ends do not count.
  const octets = 100 + 4 + 21;
  const input = (fields: SignedFields) =>
    fields.input({ names: ["a", "b", "c"], canonicalization: "simple", signature }).length;
  const all = new SignedFields(section, { maxOctets: 2 * octets });
  assert.equal(input(all), 100 + 4 + 18 + 4);
  input(all);
  assert.throws(() => input(all), SignedTooMuchError);
  input(new SignedFields(section, { maxInput: octets }));
  assert.throws(() => input(new SignedFields(section, { maxInput: octets - 1 })), SignedTooMuchError);
});
