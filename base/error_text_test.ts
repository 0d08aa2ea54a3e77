import assert from "node:assert/strict";
import { errorText } from "./error_text.ts";

Deno.test("errorText() gives the message of whatever was thrown", () => {
  assert.equal(errorText(new TypeError("no such thing")), "no such thing");
  assert.equal(errorText(new DOMException("too late", "TimeoutError")), "too late");
  assert.equal(errorText(new Deno.errors.NotFound("")), "NotFound");
  for (const [thrown, text] of [["a text", "a text"], [undefined, "undefined"], [7, "7"]]) {
    assert.equal(errorText(thrown), text);
  }
});
