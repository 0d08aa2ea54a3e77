import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { assertLinear, countedText } from "../tests/support/counted.ts";
import { claimsToBeOurs } from "./authentication_results.ts";

const claims = (value: string, { hostname = "mx.example.com", whole = true } = {}) =>
  claimsToBeOurs(value, { hostname, whole });

Deno.test("claimsToBeOurs() finds our name after comments, in quotes, with quoted pairs, in any case", () => {
  for (
    const value of [
      "mx.example.com; spf=pass",
      " MX.Example.COM. 1;\tspf=pass",
      '"mx.example.com";none',
      '"mx\\.example.\\com"; none',
      "mx\\.example.com; none",
      "(a (nested) comment) mx.example.com; none",
      "(a \\( comment)(another)\tmx.example.com(x)1; none",
      "()".repeat(500) + " mx.example.com",
      "(".repeat(900) + ")".repeat(900) + "mx.example.com; none",
      "\tmx.example.com ;none",
      "mx.example.com/1; none",
      "mx.example.com",
      // Readers that take out comments and white space first see our name.
      "mx.(x)example.com; none",
      "mx .example.com; none",
      // White space to some.
      "\vmx.example.com; none",
      "\f\0mx.example.com\x1f; none",
      "\xc2\xa0mx.example.com\xe2\x80\x83.; none",
      "\xef\xbb\xbfmx.example.com; none",
    ]
  ) assert.ok(claims(value), value);
  const idn = Buffer.from("mx.bücher.example; none").toString("latin1");
  assert.ok(claims(idn, { hostname: "mx.xn--bcher-kva.example" }));
});

Deno.test("claimsToBeOurs() takes for ours what cannot be told", () => {
  for (const value of ["", "   ", "; spf=pass", "(not closed mx.example.org", '"not closed', "(\\"]) {
    assert.ok(claims(value), value);
  }
  // The name, or the rest of it, may stand after what was not looked at.
  for (const value of [" ".repeat(2000), `(${"x".repeat(2000)})`, `(${"x".repeat(2000)}) mx.exam`]) {
    assert.ok(claims(value, { whole: false }), value);
  }
});

Deno.test("claimsToBeOurs() leaves the fields of others", () => {
  for (
    const value of [
      "mx.example.net; spf=pass",
      "xmx.example.com; none",
      "mx.example.com.evil.example; none",
      "(mx.example.com) other.example; x",
      "other.example; spf=pass smtp.mailfrom=mx.example.com",
      "other.example (mx.example.com); none",
      "x".repeat(2000) + "; none",
    ]
  ) assert.ok(!claims(value), value);
  assert.ok(!claims("other.example; dkim=pass" + "x".repeat(2000), { whole: false }));
});

Deno.test("claimsToBeOurs() looks at each character once, whatever the nesting", () => {
  for (const form of ["(", "()", "((x", "\\(", '"', '"("', ")", "a ", " ", "("]) {
    assertLinear((count) => {
      const { input, steps } = countedText(form.repeat(count));
      claims(input);
      return steps();
    }, { what: form });
  }
  assertLinear((count) => {
    const { input, steps } = countedText("(".repeat(count) + ")".repeat(count) + "mx.example.com;");
    assert.ok(claims(input));
    return steps();
  });
});
