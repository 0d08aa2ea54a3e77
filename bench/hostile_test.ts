import assert from "node:assert/strict";
import { MAX_FIELDS, MAX_HEADER_SECTION } from "../message/header_field.ts";
import { rsaKey } from "../tests/support/dkim.ts";
import { HOSTILE_SCENARIOS } from "./hostile.ts";

Deno.test("HOSTILE_SCENARIOS say which of them are refused for their header section", () => {
  const key = rsaKey(2048);
  for (const { name, text, refused = false } of HOSTILE_SCENARIOS) {
    // Ten signatures of a body of 20 MB take half a minute, and the header section is that of the others.
    if (text === undefined || name === "hostile-body") continue;
    const message = text(key);
    const header = message.slice(0, message.indexOf("\r\n\r\n"));
    const fields = header.match(/(^|\r\n)(?=[^ \t])/g)?.length ?? 0;
    assert.equal(header.length > MAX_HEADER_SECTION || fields > MAX_FIELDS, refused, name);
  }
});
