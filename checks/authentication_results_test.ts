import assert from "node:assert/strict";
import { fc } from "../tests/support/property.ts";
import { type MethodResult, writeAuthenticationResults } from "./authentication_results.ts";

const write = (...results: MethodResult[]) => writeAuthenticationResults("mx.example.com", results);

Deno.test("writeAuthenticationResults() writes one field, a line for each result", () => {
  assert.equal(write(), "Authentication-Results: mx.example.com; none");
  assert.equal(
    write(
      {
        method: "spf",
        result: "pass",
        properties: [["smtp", "mailfrom", "a@example.net"], ["smtp", "helo", "mx.example.net"]],
      },
      { method: "iprev", result: "fail", properties: [["policy", "iprev", "2001:db8::1"]] },
      {
        method: "dmarc",
        result: "fail",
        comment: "p=reject",
        reason: 'no "aligned" identifier',
        properties: [["header", "from", "example.net"]],
      },
    ),
    [
      "Authentication-Results: mx.example.com;",
      "\tspf=pass smtp.mailfrom=a@example.net smtp.helo=mx.example.net;",
      '\tiprev=fail policy.iprev="2001:db8::1";',
      '\tdmarc=fail (p=reject) reason="no \\"aligned\\" identifier"',
      "\theader.from=example.net",
    ].join("\r\n"),
  );
});

Deno.test("writeAuthenticationResults() quotes what is not a token, and leaves out what cannot be written", () => {
  const value = (text: string) =>
    /smtp\.helo=(.*)$/s.exec(write({ method: "spf", result: "none", properties: [["smtp", "helo", text]] }))
      ?.[1];
  assert.equal(value("mx_1.example.com"), "mx_1.example.com");
  assert.equal(value("[192.0.2.1]"), '"[192.0.2.1]"');
  assert.equal(value('"a b"@example.com'), '"\\"a b\\"@example.com"');
  assert.equal(value("a/b=c@example.com"), "a/b=c@example.com");
  assert.equal(value("x; dkim=pass"), '"x; dkim=pass"');
  for (const text of ["", "a\r\nb", "a\0", "ü@example.com", "x".repeat(321)]) {
    assert.equal(value(text), undefined);
  }
});

Deno.test("writeAuthenticationResults() stays one field of short printable lines, whatever the texts hold", () => {
  const text = fc.string({ unit: "binary", maxLength: 600 });
  const result: fc.Arbitrary<MethodResult> = fc.record({
    method: fc.constantFrom("spf", "dkim"),
    result: fc.constantFrom("pass", "fail"),
    comment: fc.oneof(text, fc.constant("(((\\) x) ; dkim=pass\r\nX: y")),
    reason: fc.oneof(text, fc.constant('" header.d=bank.example "\\')),
    properties: fc.array(fc.tuple(fc.constant("header" as const), fc.constant("d"), text), { maxLength: 3 }),
  });
  fc.assert(fc.property(fc.array(result, { maxLength: 60 }), (results) => {
    const field = writeAuthenticationResults("mx.example.com", results);
    const lines = field.split("\r\n");
    for (const [i, line] of lines.entries()) {
      assert.match(
        line,
        i === 0 ? /^Authentication-Results: mx\.example\.com;(?: none)?$/ : /^\t[\x21-\x7e][\x20-\x7e]*$/,
      );
      assert.ok(line.length <= 998);
    }
    // Outside of comments and quoted strings nothing of the texts is left: as many results as were given.
    const bare = field.replace(/"(?:[^"\\]|\\.)*"/g, "Q").replace(/\([^()]*\)/g, "");
    assert.doesNotMatch(bare, /[()"\\]/);
    assert.equal(bare.split(";").length - 1, Math.max(1, Math.min(50, results.length)));
  }));
});
