import assert from "node:assert/strict";
import { HeaderSection } from "../message/header_section.ts";
import { SignedFields } from "./signed_fields.ts";

Deno.test("SignedFields.input() takes fields from below, and none where there is none left", () => {
  const fields = new SignedFields(HeaderSection.of("To: first\r\nFrom: x\r\nTo: second\r\n"));
  const input = fields.input({
    names: ["to", "cc", "to", "from", "to"],
    canonicalization: "relaxed",
    signature: { name: "dkim-signature", text: "DKIM-Signature: v=1;\r\n\tb=abc" },
  });
  assert.equal(input.toString("latin1"), "to:second\r\nto:first\r\nfrom:x\r\ndkim-signature:v=1; b=");
});
