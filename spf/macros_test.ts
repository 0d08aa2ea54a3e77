import assert from "node:assert/strict";
import { expandDomain, expandExplanation, parseDomainSpec, parseMacros } from "./macros.ts";

/** The values of the examples in RFC 7208 §7.4. */
const VALUES: Readonly<Record<string, string>> = {
  s: "strong-bad@email.example.com",
  l: "strong-bad",
  o: "email.example.com",
  d: "email.example.com",
  i: "192.0.2.3",
  p: "mx.example.org",
  v: "in-addr",
  h: "mail.example.net",
};

const expand = (text: string, values: Readonly<Record<string, string>> = VALUES) => {
  const spec = parseDomainSpec(text);
  return spec && expandDomain(spec, (letter) => values[letter]);
};

Deno.test("expandDomain() expands the examples of RFC 7208 §7.4", () => {
  for (
    const [text, expected] of [
      ["%{s}", "strong-bad@email.example.com"],
      ["%{o}", "email.example.com"],
      ["%{d4}", "email.example.com"],
      ["%{d3}", "email.example.com"],
      ["%{d2}", "example.com"],
      ["%{d1}", "com"],
      ["%{dr}", "com.example.email"],
      ["%{d2r}", "example.email"],
      ["%{l}", "strong-bad"],
      ["%{l-}", "strong.bad"],
      ["%{lr}", "strong-bad"],
      ["%{lr-}", "bad.strong"],
      ["%{l1r-}", "strong"],
      ["%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"],
      ["%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"],
      ["%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"],
      ["%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"],
      ["%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"],
      ["%{S}", "strong-bad%40email.example.com"],
      ["a%%b%_c%-d.example.com.", "a%b c%20d.example.com"],
    ] as const
  ) assert.equal(expand(text), expected, text);
  const ipv6 = Array.from("20010db80000000000000000000cb01").join(".");
  assert.equal(
    expand("%{ir}.%{v}._spf.%{d2}", { ...VALUES, i: ipv6, v: "ip6" })?.endsWith(".ip6._spf.example.com"),
    true,
  );
});

Deno.test("parseDomainSpec() refuses what is none", () => {
  for (
    const text of [
      "",
      "example",
      "example.",
      "example.123",
      "example.-com",
      "example.com-",
      "a b.example.com",
      "%{x}.example.com",
      "%{d0}",
      "%{d",
      "%{dx}",
      "%{d+r}",
      "%a.example.com",
      "example.com%",
      "%{d}com",
      "foo.example.com%%-",
      "%{c}",
      "%{r}.example.com",
      "%{t}",
      "%{d}".repeat(501),
    ]
  ) assert.equal(parseDomainSpec(text), undefined, text);
});

Deno.test("expandDomain() cuts a long name on the left, between labels, and builds no more than it needs", () => {
  const label = "a".repeat(59);
  for (
    const [name, kept] of [[`${label}.`.repeat(4) + "example.com", 4], [
      `${label}.`.repeat(5) + "com",
      4,
    ]] as const
  ) {
    const end = name.slice(name.lastIndexOf(`${label}.`) + label.length);
    assert.equal(expand(`%{o}`, { o: name }), (`${label}.`.repeat(kept) + end.slice(1)).slice(-253), name);
  }
  assert.equal(expand("%{o}", { o: "b".repeat(254) }), "");
  let asked = 0;
  const spec = parseDomainSpec("%{s}".repeat(500));
  assert.ok(spec);
  const name = expandDomain(spec, () => {
    asked++;
    return `x.${"y".repeat(60)}`;
  });
  assert.ok(name.length <= 253);
  assert.ok(asked <= 5, String(asked));
});

Deno.test("expandExplanation() ends at the limit", () => {
  const tokens = parseMacros("%{c} is not allowed, see http://%{d}/?s=%{S} ", { explanation: true });
  assert.ok(tokens);
  const values = (letter: string) => ({ ...VALUES, c: "192.0.2.3" })[letter];
  assert.equal(
    expandExplanation(tokens, values, 500),
    "192.0.2.3 is not allowed, see http://email.example.com/?s=strong-bad%40email.example.com ",
  );
  assert.equal(expandExplanation(tokens, values, 12), "192.0.2.3 is");
});
