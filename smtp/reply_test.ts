import assert from "node:assert/strict";
import { formatReply, reply, SmtpError } from "./reply.ts";

Deno.test("formatReply() writes one line, with and without an enhanced code", () => {
  assert.equal(formatReply(reply(250, "2.0.0", "OK")), "250 2.0.0 OK\r\n");
  assert.equal(formatReply(reply(354, undefined, "go on")), "354 go on\r\n");
});

Deno.test("formatReply() repeats code and enhanced code on each line (RFC 2034 §4)", () => {
  assert.equal(
    formatReply(reply(214, "2.0.0", "a", "b", "c")),
    "214-2.0.0 a\r\n214-2.0.0 b\r\n214 2.0.0 c\r\n",
  );
  assert.equal(formatReply(reply(250, undefined, "a", "b")), "250-a\r\n250 b\r\n");
});

Deno.test("formatReply() lets no text add a line or move a terminal's cursor", () => {
  const text = formatReply(reply(550, "5.0.0", "a\r\n250 OK\u001b[2J\0\u007f\u0085\u2028b"));
  assert.equal(text, "550 5.0.0 a??250 OK?[2J????b\r\n");
});

Deno.test("SmtpError carries the reply and, apart from it, the cause", () => {
  const cause = new Error("ENOSPC at /var/mail");
  const error = new SmtpError(reply(452, "4.3.1", "No room"), { cause });
  assert.equal(error.message, "452 4.3.1 No room");
  assert.equal(error.cause, cause);
  assert.doesNotMatch(formatReply(error.reply), /ENOSPC/);
});
