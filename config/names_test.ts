import assert from "node:assert/strict";
import {
  isLoopback,
  parseDomain,
  parseFullyQualified,
  parseIp,
  parseLocalPartOrAddress,
  parsePort,
  splitHostPort,
} from "./names.ts";

Deno.test("parseDomain() gives A-labels in lower case without the trailing dot", () => {
  assert.equal(parseDomain("Example.COM."), "example.com");
  assert.equal(parseDomain("bücher.example"), "xn--bcher-kva.example");
  assert.equal(parseDomain("XN--BCHER-KVA.example"), "xn--bcher-kva.example");
  assert.equal(parseDomain("localhost"), "localhost");
  // As SMTP and DNS have it: there are such domains, and one may want a route to them.
  assert.equal(parseDomain("a_b.example"), "a_b.example");
});

Deno.test("parseDomain() refuses what is not a domain", () => {
  const long = `${"a".repeat(64)}.example`;
  const total = Array(50).fill("abcde").join(".");
  for (
    const name of [
      "",
      ".",
      "..",
      "a..b",
      "-a.b",
      "a-.b",
      "a b",
      "a/b",
      "192.0.2.1",
      "[::1]",
      "a@b",
      "é%2e.b",
      long,
      total,
      1,
    ]
  ) {
    assert.equal(parseDomain(name), undefined, String(name));
  }
});

Deno.test("parseFullyQualified() wants two labels", () => {
  assert.equal(parseFullyQualified("mx.example"), "mx.example");
  assert.equal(parseFullyQualified("localhost"), undefined);
  assert.equal(parseFullyQualified("mx_1.example"), undefined);
});

Deno.test("parseIp() gives the canonical form", () => {
  assert.equal(parseIp("2001:DB8:0:0::1"), "2001:db8::1");
  assert.equal(parseIp("127.0.0.1"), "127.0.0.1");
  for (const text of ["127.1", "fe80::1%eth0", "[::1]", "localhost", ""]) {
    assert.equal(parseIp(text), undefined);
  }
});

Deno.test("isLoopback() knows the loopback networks", () => {
  assert.deepEqual(["127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "::ffff:7f00:1"].map(isLoopback), [
    true,
    true,
    true,
    false,
    false,
    false,
  ]);
});

Deno.test("parsePort() is bounded", () => {
  assert.deepEqual([0, 65535, 65536, -1, 2.5, "25"].map((port) => parsePort(port)), [
    0,
    65535,
    undefined,
    undefined,
    undefined,
    undefined,
  ]);
  assert.equal(parsePort(0, { min: 1 }), undefined);
});

Deno.test("splitHostPort() knows brackets and bare IPv6", () => {
  assert.deepEqual(splitHostPort("h.test:587"), { host: "h.test", port: 587 });
  assert.deepEqual(splitHostPort("h.test"), { host: "h.test" });
  assert.deepEqual(splitHostPort("[::1]:25"), { host: "::1", port: 25 });
  assert.deepEqual(splitHostPort("2001:db8::1"), { host: "2001:db8::1" });
  assert.deepEqual(splitHostPort("h.test:x"), { host: "h.test:x" });
});

Deno.test("parseLocalPartOrAddress() completes nothing and maps only the domain", () => {
  assert.equal(parseLocalPartOrAddress("Alice"), "Alice");
  assert.equal(parseLocalPartOrAddress("*"), "*");
  for (const long of ["a".repeat(86), "ü".repeat(127), `${"a".repeat(242)}@example.com`]) {
    assert.equal(parseLocalPartOrAddress(long), long);
  }
  assert.equal(parseLocalPartOrAddress("Bob@BÜCHER.example"), "Bob@xn--bcher-kva.example");
  for (
    const text of ["", "@example.com", "a b", "a@", "a\0", "ü".repeat(128), `${"a".repeat(243)}@example.com`]
  ) {
    assert.equal(parseLocalPartOrAddress(text), undefined, text);
  }
});
