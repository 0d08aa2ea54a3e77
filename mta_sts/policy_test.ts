import assert from "node:assert/strict";
import { allowsMx, MAX_MAX_AGE, MAX_POLICY, parsePolicy, PolicyError } from "./policy.ts";
import { policyId } from "./record.ts";

Deno.test("policyId() takes the id of the one record of version 1 (RFC 8461 §3.1)", () => {
  const ids: readonly (readonly [readonly string[], string | undefined])[] = [
    [["v=STSv1; id=20160831085700Z;"], "20160831085700Z"],
    [["v=STSv1;id=a"], "a"],
    [["v=STSv1 ; ext=x/y; id = 7 ;"], "7"],
    [["v=spf1 -all", "v=STSv1; id=1"], "1"],
    [[], undefined],
    [["v=STSv1; id=1", "v=STSv1; id=2"], undefined],
    [["v=STSv1"], undefined],
    [["v=STSv10; id=1"], undefined],
    [["id=1; v=STSv1"], undefined],
    [["v=STSv1; id=1; id=2"], undefined],
    [["v=STSv1; id=with-dash"], undefined],
    [[`v=STSv1; id=${"1".repeat(33)}`], undefined],
    [["v=STSv1; id=1; =x"], undefined],
    [[`v=STSv1; id=1; ${"x=y;".repeat(300)}`], undefined],
  ];
  for (const [records, id] of ids) assert.equal(policyId(records), id, records.join(" | "));
});

Deno.test("parsePolicy() reads a policy with LF or CRLF, spaces and unknown fields (RFC 8461 §3.2)", () => {
  const lines = [
    "version: STSv1",
    "mode: enforce",
    "mx: Mail.Example.com",
    "mx: *.example.net",
    "max_age:604800",
  ];
  const policy = { mode: "enforce", maxAge: 604800, mx: ["mail.example.com", "*.example.net"] };
  assert.deepEqual(parsePolicy(lines.join("\n")), policy);
  assert.deepEqual(parsePolicy(`${lines.join("  \r\n")}\r\nx-other: what: ever\r\n\r\n`), policy);
  assert.deepEqual(parsePolicy("version: STSv1\nmode: none\nmax_age: 1\nmode: enforce\n"), {
    mode: "none",
    maxAge: 1,
    mx: [],
  });
  assert.equal(
    parsePolicy("version: STSv1\nmode: testing\nmx: a.b\nmax_age: 9999999999").maxAge,
    MAX_MAX_AGE,
  );
});

Deno.test("parsePolicy() says what is wrong", () => {
  const head = "version: STSv1\n";
  const wrong: readonly (readonly [string, RegExp])[] = [
    ["", /version/],
    ["version: STSv2\nmode: none\nmax_age: 1", /version/],
    [`${head}mode: strict\nmx: a.b\nmax_age: 1`, /mode/],
    [`${head}mode: enforce\nmx: a.b`, /max_age/],
    [`${head}mode: enforce\nmx: a.b\nmax_age: -1`, /max_age/],
    [`${head}mode: enforce\nmax_age: 1`, /no mx/],
    [`${head}mode: enforce\nmx: a..b\nmax_age: 1`, /host name/],
    [`${head}mode: enforce\nmx: a.*.b\nmax_age: 1`, /host name/],
    [`${head}mode: enforce\n${"mx: a.b\n".repeat(201)}max_age: 1`, /more than/],
    ["<html>", /name: value/],
    [`${head}mode: none\nmax_age: 1\n${"x: y\n".repeat(20_000)}`, new RegExp(String(MAX_POLICY))],
  ];
  for (const [text, message] of wrong) {
    assert.throws(
      () => parsePolicy(text),
      (error) => error instanceof PolicyError && message.test(error.message),
    );
  }
});

Deno.test("allowsMx() takes a wildcard for exactly one label (RFC 8461 §4.1)", () => {
  const policy = { mode: "enforce", maxAge: 1, mx: ["mail.example.com", "*.example.net"] } as const;
  for (const host of ["mail.example.com", "mx1.example.net"]) assert.ok(allowsMx(policy, host), host);
  for (
    const host of ["example.net", "a.b.example.net", "mail.example.com.evil.test", "net", "xexample.net"]
  ) {
    assert.ok(!allowsMx(policy, host), host);
  }
});
