import assert from "node:assert/strict";
import { authorDomains } from "./author_domains.ts";

Deno.test("authorDomains() finds the domain of each address", () => {
  const cases: readonly (readonly [string, readonly string[]])[] = [
    [" a@Example.COM", ["example.com"]],
    [" Joe <joe@football.example.com>\r\n", ["football.example.com"]],
    [' "a@b.example, c" <joe@d.example>', ["d.example"]],
    [" x@a.example, Y <y@b.example>", ["a.example", "b.example"]],
    [" joe@a.example (home (of x@b.example), \\) y@c.example)", ["a.example"]],
    [' "quoted\\"@x"@a.example', ["a.example"]],
    [" Joe\r\n\t<joe@\r\n a.example>", ["a.example"]],
    [" joe @ a . example", ["a.example"]],
    [" People: a@a.example, b@b.example;", ["a.example", "b.example"]],
    [" <@r.example,@s.example:a@a.example>", ["a.example"]],
    [" a@b.example <c@d.example>", ["d.example"]],
    [" =?utf-8?q?a=40b.example?= <c@d.example.>", ["d.example"]],
    [" <a@b\u00c3\u00bccher.example>", ["xn--bcher-kva.example"]],
    [" <a@[192.0.2.1]>", []],
    [" root", []],
    [" <>", []],
    [" a@-x.example", []],
    ["", []],
    [" (", []],
    [' "', []],
    [" <a@b.example", ["b.example"]],
  ];
  for (const [value, domains] of cases) assert.deepEqual(authorDomains(value), domains, value);
});

Deno.test("authorDomains() takes linear time for what is no address", () => {
  for (const part of ["<", "(", '"', "\\", "@", ",", "<@", " ", "a:", "\t\r\n "]) {
    const start = performance.now();
    authorDomains(part.repeat(100_000));
    assert.ok(performance.now() - start < 2000, JSON.stringify(part));
  }
});
