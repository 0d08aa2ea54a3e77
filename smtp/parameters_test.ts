import assert from "node:assert/strict";
import { fc } from "../tests/support/property.ts";
import {
  decodeXtext,
  encodeXtext,
  mailParameters,
  type Parameters,
  parseParameters,
  recipientParameters,
} from "./parameters.ts";
import { SmtpError } from "./reply.ts";

function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof SmtpError, String(error));
    return `${error.reply.code} ${error.reply.enhanced}`;
  }
  return "none";
}

const mail = (text: string, dsn = false) => mailParameters(parseParameters(text), { dsn });
const rcpt = (text: string, { dsn = true, smtputf8 = false } = {}) =>
  recipientParameters(parseParameters(text), { dsn, smtputf8 });

Deno.test("parseParameters() reads keywords and values", () => {
  const entries = (parameters: Parameters) => [...parameters];
  assert.deepEqual(entries(parseParameters("")), []);
  assert.deepEqual(entries(parseParameters("   ")), []);
  assert.deepEqual(entries(parseParameters(" size=1  X-y=a+b SMTPUTF8")), [
    ["SIZE", "1"],
    ["X-Y", "a+b"],
    ["SMTPUTF8", undefined],
  ]);
});

Deno.test("parseParameters() refuses what is none: 501", () => {
  for (
    const text of ["x", " =", " =x", " -A=1", " A=", " A=b=c", " A=1 a=2", " A\u0085", " A=\u0085", " A=\tb"]
  ) {
    assert.equal(refusal(() => parseParameters(text)), "501 5.5.4", JSON.stringify(text));
  }
});

Deno.test("mailParameters() reads SIZE, BODY and SMTPUTF8", () => {
  assert.deepEqual(mail(""), { body: "7BIT", smtputf8: false });
  assert.deepEqual(mail(" SIZE=100 BODY=8bitMIME SMTPUTF8"), {
    body: "8BITMIME",
    smtputf8: true,
    size: 100,
  });
  assert.deepEqual(mail(" body=7bit size=0"), { body: "7BIT", smtputf8: false, size: 0 });
});

Deno.test("mailParameters() reads RET and ENVID where DSN is there", () => {
  assert.deepEqual(mail(" RET=hdrs ENVID=a+2Bb", true).dsn, { ret: "HDRS", envelopeId: "a+b" });
  assert.deepEqual(mail(" RET=FULL", true).dsn, { ret: "FULL" });
  assert.equal(refusal(() => mail(" RET=FULL")), "555 5.5.4");
  assert.equal(refusal(() => mail(" ENVID=x")), "555 5.5.4");
});

Deno.test("mailParameters() refuses what it cannot read", () => {
  for (
    const text of [
      " SIZE",
      " SIZE=x",
      " SIZE=1.5",
      ` SIZE=${"1".repeat(21)}`,
      " BODY",
      " BODY=BINARYMIME",
      " SMTPUTF8=1",
      " RET=x",
      " RET",
      " ENVID",
      ` ENVID=${"x".repeat(101)}`,
      " ENVID=a+zz",
      " ENVID=a+00",
      " ENVID=é",
    ]
  ) {
    assert.equal(refusal(() => mail(text, true)), "501 5.5.4", text);
  }
  assert.equal(refusal(() => mail(` ${"X".repeat(500)}=1`)), "555 5.5.4");
});

Deno.test("recipientParameters() reads NOTIFY and ORCPT", () => {
  assert.deepEqual(rcpt(""), {});
  assert.deepEqual(rcpt(" NOTIFY=never"), { notify: ["NEVER"] });
  assert.deepEqual(rcpt(" NOTIFY=success,Delay,SUCCESS"), { notify: ["SUCCESS", "DELAY"] });
  assert.deepEqual(rcpt(" ORCPT=RFC822;a+40b.test"), {
    originalRecipient: { type: "rfc822", address: "a@b.test" },
  });
  assert.deepEqual(rcpt(" ORCPT=utf-8;b\\x{F6}b@b.test"), {
    originalRecipient: { type: "utf-8", address: "böb@b.test" },
  });
  assert.deepEqual(rcpt(" ORCPT=utf-8;böb@b.test", { smtputf8: true }), {
    originalRecipient: { type: "utf-8", address: "böb@b.test" },
  });
});

Deno.test("recipientParameters() refuses what it cannot read, and everything without DSN", () => {
  for (
    const text of [
      " NOTIFY",
      " NOTIFY=,",
      " NOTIFY=SUCCESS,",
      " NOTIFY=NEVER,SUCCESS",
      " NOTIFY=x",
      " ORCPT",
      " ORCPT=a@b.test",
      " ORCPT=rfc822;",
      " ORCPT=rfc822;a+0A",
      " ORCPT=rfc822;a+0D+0ARCPT",
      " ORCPT=rfc822;a+7F",
      " ORCPT=utf-8;\\x{0A}",
      " ORCPT=utf-8;\\x{D800}",
      " ORCPT=utf-8;\\x{110000}",
      " ORCPT=utf-8;\\x{2028}",
      " ORCPT=utf-8;é",
      ` ORCPT=rfc822;${"x".repeat(501)}`,
    ]
  ) {
    assert.equal(refusal(() => rcpt(text)), "501 5.5.4", text);
  }
  assert.equal(refusal(() => rcpt(" NOTIFY=NEVER", { dsn: false })), "555 5.5.4");
  assert.equal(refusal(() => rcpt(" SIZE=1")), "555 5.5.4");
});

Deno.test("decodeXtext() gives back what encodeXtext() took (property)", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme-ascii" }), (text) => {
      const encoded = encodeXtext(text);
      assert.match(encoded, /^[!-*,-<>-~+]*$/);
      assert.doesNotMatch(encoded, /[ =]/);
      assert.equal(decodeXtext(encoded), text);
    }),
    { numRuns: 500 },
  );
});

Deno.test("decodeXtext() takes no control character, in the clear or hidden (property)", () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(..."+01ADF7ab=\n\0é ") }), (text) => {
      const decoded = decodeXtext(text);
      if (decoded !== undefined) assert.match(decoded, /^[ -~]*$/);
    }),
    { numRuns: 1000 },
  );
});
