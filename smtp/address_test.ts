import assert from "node:assert/strict";
import { isIP } from "node:net";
import { fc } from "../tests/support/property.ts";
import {
  AddressError,
  type AddressFault,
  formatLocalPart,
  normalizeLiteral,
  parseHelloName,
  parseMailbox,
  parsePath,
  type PathOptions,
  printableHelloName,
} from "./address.ts";
import { isIpv4, isIpv6 } from "../net/ip_address.ts";
import { normalizeDomain } from "../net/domain_name.ts";

const ASCII: PathOptions = { smtputf8: false, bare: "none" };
const UTF8: PathOptions = { smtputf8: true, bare: "none" };

function fault(text: string, options: PathOptions = ASCII): AddressFault | undefined {
  try {
    parsePath(text, options);
    return undefined;
  } catch (error) {
    assert.ok(error instanceof AddressError, String(error));
    // The message goes to the peer: nothing of what it sent may be in it.
    assert.match(error.message, /^[ -~]+$/);
    return error.fault;
  }
}

const GOOD: readonly (readonly [path: string, localPart: string, domain: string])[] = [
  ["<a@b.test>", "a", "b.test"],
  ["<A.b@B.TEST>", "A.b", "b.test"],
  ["<a@b.test.>", "a", "b.test"],
  ["<a@localhost>", "a", "localhost"],
  ["<a@under_score.test>", "a", "under_score.test"],
  ["<a@1.2>", "a", "1.2"],
  ["<!#$%&'*+-/=?^_`{|}~@b.test>", "!#$%&'*+-/=?^_`{|}~", "b.test"],
  ['<""@b.test>', "", "b.test"],
  ['<"a b"@b.test>', "a b", "b.test"],
  ['<"a@c"@b.test>', "a@c", "b.test"],
  ['<"a>c"@b.test>', "a>c", "b.test"],
  ['<"a\\"\\\\c"@b.test>', 'a"\\c', "b.test"],
  ['<"\\a"@b.test>', "a", "b.test"],
  ["<a@[192.0.2.1]>", "a", "[192.0.2.1]"],
  ["<a@[IPv6:2001:DB8::1]>", "a", "[IPv6:2001:db8::1]"],
  ["<a@[ipv6:::ffff:192.0.2.1]>", "a", "[IPv6:::ffff:192.0.2.1]"],
  ["<a@[2001:DB8::1]>", "a", "[IPv6:2001:db8::1]"],
  ["<a@[::1]>", "a", "[IPv6:::1]"],
  ["<@x.test:a@b.test>", "a", "b.test"],
  ["<@x.test,@y.test:a@b.test>", "a", "b.test"],
  [`<${"a".repeat(64)}@b.test>`, "a".repeat(64), "b.test"],
  [`<${"a".repeat(86)}@b.test>`, "a".repeat(86), "b.test"],
  [`<${"a".repeat(247)}@b.test>`, "a".repeat(247), "b.test"],
  [`<"${" ".repeat(245)}"@b.test>`, " ".repeat(245), "b.test"],
  ["<a@xn--bcher-kva.example>", "a", "xn--bcher-kva.example"],
  ["<a%b@c.test>", "a%b", "c.test"],
  ["<a!b@c.test>", "a!b", "c.test"],
];

for (const [text, localPart, domain] of GOOD) {
  Deno.test(`parsePath() reads ${text.slice(0, 40)}`, () => {
    const { path, rest } = parsePath(`${text} X=y`, ASCII);
    assert.equal(path?.localPart, localPart);
    assert.equal(path?.domain, domain);
    assert.equal(rest, " X=y");
    assert.equal(`<${path?.text}>`, text.replace(/^<@[^:]+:/, "<"));
  });
}

const BAD: readonly (readonly [path: string, fault: AddressFault])[] = [
  ["", "syntax"],
  [" ", "syntax"],
  ["\u00a0<a@b.test>", "syntax"],
  ["<a@b.test", "syntax"],
  ["<a@b.test x>", "syntax"],
  ["<a>", "syntax"],
  ["<@b.test>", "syntax"],
  ["<a@>", "syntax"],
  ["<a@@b.test>", "syntax"],
  ["<a@b@c.test>", "syntax"],
  ["<.@b.test>", "syntax"],
  ["<...@b.test>", "syntax"],
  ["<a.>", "syntax"],
  ["<a b@c.test>", "syntax"],
  ["<a(c)@b.test>", "syntax"],
  ["<a,b@c.test>", "syntax"],
  ['<"a@b.test>', "syntax"],
  ['<"a"b@c.test>', "syntax"],
  ['<"a\\"@b.test>', "syntax"],
  ['<"a\u0000"@b.test>', "syntax"],
  ['<"a\tb"@b.test>', "syntax"],
  ["<a@b..test>", "syntax"],
  ["<a@.b.test>", "syntax"],
  ["<a@-b.test>", "syntax"],
  ["<a@b-.test>", "syntax"],
  [`<a@${"b".repeat(64)}.test>`, "syntax"],
  ["<a@b.test..>", "syntax"],
  ["<a@[]>", "syntax"],
  ["<a@[1.2.3]>", "syntax"],
  ["<a@[1.2.3.256]>", "syntax"],
  ["<a@[01.2.3.4]>", "syntax"],
  ["<a@[1.2.3.4>", "syntax"],
  ["<a@[2001:db8::1::]>", "syntax"],
  ["<a@[IPv6:IPv6:::1]>", "syntax"],
  ["<a@[IPv6:2001:db8::1::]>", "syntax"],
  ["<a@[IPv6:1:2:3:4:5:6:7]>", "syntax"],
  ["<a@[IPv6:1:2:3:4:5:6:7:8:9]>", "syntax"],
  ["<a@[IPv6:1.2.3.4]>", "syntax"],
  ["<a@[IPv6:::1.2.3.256]>", "syntax"],
  ["<a@[IPv6:1.2::3]>", "syntax"],
  ["<a@[IPv6::1:]>", "syntax"],
  ["<a@[IPv6:12345::]>", "syntax"],
  ["<a@[IPv6:]>", "syntax"],
  ["<a@[Tag:x]>", "syntax"],
  ["<@x.test>", "syntax"],
  ["<x.test:a@b.test>", "syntax"],
  ["<@x.test,y.test:a@b.test>", "syntax"],
  ["<@x.test:>", "syntax"],
  ["<@:a@b.test>", "syntax"],
  [`<${"a".repeat(248)}@b.test>`, "tooLong"],
  [`<"${" ".repeat(246)}"@b.test>`, "tooLong"],
  [`<${"a".repeat(2000)}@b.test>`, "tooLong"],
  [`${"a".repeat(248)}@b.test`, "tooLong"],
  [`<a..${"a".repeat(245)}@b.test>`, "tooLong"],
  [`<a@${"abcdefg.".repeat(32)}test>`, "tooLong"],
  [`<aaaaaa@${"abcdefg.".repeat(31)}test>`, "tooLong"],
  ["<é@b.test>", "nonAscii"],
  ["<a@é.test>", "nonAscii"],
  ['<"é"@b.test>', "nonAscii"],
];

for (const [text, expected] of BAD) {
  Deno.test(`parsePath() refuses ${JSON.stringify(text.slice(0, 40))}: ${expected}`, () => {
    assert.equal(fault(text), expected);
    if (expected !== "nonAscii") assert.equal(fault(text, UTF8), expected);
  });
}

for (const before of ["", " ", "  ", "\t", " \t "]) {
  Deno.test(`parsePath() takes an address after ${JSON.stringify(before)}, also without angle brackets`, () => {
    for (const mailbox of ["a@b.test", '"a b"@b.test', "a@[192.0.2.1]", `${"a".repeat(247)}@b.test`]) {
      const strict = parsePath(`<${mailbox}> X=y`, ASCII);
      assert.equal(strict.loose, false);
      assert.deepEqual(parsePath(`${before}${mailbox} X=y`, ASCII), { ...strict, loose: true });
      assert.deepEqual(parsePath(`${before}${mailbox}`, ASCII), { ...strict, rest: "", loose: true });
      assert.deepEqual(parsePath(`${before}<${mailbox}> X=y`, ASCII), { ...strict, loose: before !== "" });
    }
    assert.deepEqual(parsePath(`${before}<> X=y`, ASCII), { path: null, rest: " X=y", loose: before !== "" });
  });
}

Deno.test("parsePath() takes no address without angle brackets that could be something else", () => {
  const any: PathOptions = { smtputf8: true, bare: "any" };
  const ambiguous = [
    ...["", " ", "SIZE=100", " SIZE=100", "BODY=8BITMIME X", "a@b.test>", "a@b.test,c@d.test", "a@b.test;x"],
    ...["@r.test:a@b.test", "a@b.test\tX=y", "a@", "@b.test", "(a) b@c.test"],
  ];
  for (const text of ambiguous) assert.equal(fault(text, any), "syntax", text);
  for (const text of [...ambiguous, "a b@c.test", "Ann <a@b.test>", "root"]) {
    assert.equal(fault(text), "syntax", text);
  }
  assert.equal(parsePath(" root", any).path?.text, "root");
  assert.equal(parsePath("postmaster", { ...ASCII, bare: "postmaster" }).path?.text, "postmaster");
});

Deno.test("parsePath() reads the null path", () => {
  assert.deepEqual(parsePath("<> SIZE=1", ASCII), { path: null, rest: " SIZE=1", loose: false });
});

Deno.test("parsePath() takes a bare local-part where it may stand", () => {
  assert.equal(parsePath("<PostMaster>", { ...ASCII, bare: "postmaster" }).path?.domain, "");
  assert.equal(fault("<root>", { ...ASCII, bare: "postmaster" }), "syntax");
  assert.deepEqual(parsePath("<root>", { ...ASCII, bare: "any" }).path, {
    localPart: "root",
    domain: "",
    text: "root",
  });
});

Deno.test("parsePath() takes non-ASCII with SMTPUTF8, the domain as A-labels", () => {
  assert.deepEqual(parsePath("<josé@Bücher.example>", UTF8).path, {
    localPart: "josé",
    domain: "xn--bcher-kva.example",
    text: "josé@Bücher.example",
  });
  // The same domain, composed and decomposed.
  assert.equal(parsePath("<a@bu\u0308cher.example>", UTF8).path?.domain, "xn--bcher-kva.example");
  // 64 octets, not characters.
  assert.equal(fault(`<${"é".repeat(32)}@b.test>`, UTF8), undefined);
  assert.equal(parsePath(`<${"é".repeat(123)}@b.test>`, UTF8).path?.localPart, "é".repeat(123));
  assert.equal(fault(`<${"é".repeat(124)}@b.test>`, UTF8), "tooLong");
});

Deno.test("parsePath() takes no control character or line separator in any coat", () => {
  for (const bad of ["\u0085", "\u009b", "\u2028", "\u2029", "\ufffd"]) {
    assert.equal(fault(`<a${bad}b@c.test>`, UTF8), "syntax", JSON.stringify(bad));
    assert.equal(fault(`<"a${bad}"@c.test>`, UTF8), "syntax", JSON.stringify(bad));
  }
});

Deno.test("parseMailbox() takes the whole text", () => {
  assert.equal(parseMailbox("a@b.test", ASCII).domain, "b.test");
  assert.throws(() => parseMailbox("a@b.test>", ASCII), AddressError);
  assert.throws(() => parseMailbox("a@b.test ", ASCII), AddressError);
});

Deno.test("normalizeDomain() has one spelling for a domain", () => {
  assert.equal(normalizeDomain("Example.COM."), "example.com");
  assert.equal(normalizeDomain("BÜCHER.example"), "xn--bcher-kva.example");
  assert.equal(normalizeDomain("XN--Bcher-KVA.example"), "xn--bcher-kva.example");
  for (
    const bad of [
      "",
      ".",
      "a..b",
      "-a",
      "a-",
      "a b",
      "a/b",
      "a:b",
      "..",
      "é".repeat(100),
      "\u200d",
      "é%2e.b",
      "é%61.b",
    ]
  ) {
    assert.equal(normalizeDomain(bad), undefined, bad);
  }
});

Deno.test("normalizeLiteral() knows literals", () => {
  assert.equal(normalizeLiteral("[192.0.2.1]"), "[192.0.2.1]");
  assert.equal(normalizeLiteral("[IPV6:::]"), "[IPv6:::]");
  assert.equal(normalizeLiteral("[IPv6:1:2:3:4:5:6:7::]"), "[IPv6:1:2:3:4:5:6:7::]");
  for (
    const bad of ["192.0.2.1", "[192.0.2.1", "[]", "[IPv6:1:2:3:4:5:6:7:8::]", "[IPv6::]", "[IPv6:1:::2]"]
  ) {
    assert.equal(normalizeLiteral(bad), undefined, bad);
  }
});

Deno.test("parseHelloName() keeps the client's spelling, but U-labels and a trailing dot", () => {
  assert.equal(parseHelloName("Client.TEST"), "Client.TEST");
  assert.equal(parseHelloName("Client.TEST."), "Client.TEST");
  assert.equal(parseHelloName("[192.0.2.1]"), "[192.0.2.1]");
  assert.equal(parseHelloName("[2001:DB8::1]"), "[IPv6:2001:db8::1]");
  assert.equal(parseHelloName("[::ffff:192.0.2.1]"), "[IPv6:::ffff:192.0.2.1]");
  assert.equal(parseHelloName("192.0.2.1"), "192.0.2.1");
  assert.equal(parseHelloName("bücher.example"), "xn--bcher-kva.example");
  for (
    const bad of [
      "",
      "a b",
      "a\u0085b",
      "(x)",
      "[x]",
      "a\r\nb",
      "2001:db8::1",
      "[2001:db8::1::]",
      "[fe80::1%lo]",
    ]
  ) {
    assert.equal(parseHelloName(bad), undefined);
  }
});

Deno.test("printableHelloName() leaves nothing that could end a comment or a line", () => {
  assert.equal(printableHelloName("two words"), "two words");
  assert.equal(printableHelloName("<script>alert(1)</script>"), "<script>alert?1?</script>");
  assert.equal(
    printableHelloName("a\\) from b (c\r\nX: y\t\u0085\u2028é😀\ud800"),
    "a?? from b ?c??X: y??????",
  );
  assert.equal(printableHelloName("x".repeat(2000)).length, 255);
});

Deno.test("formatLocalPart() quotes what needs it", () => {
  assert.equal(formatLocalPart("a.b"), "a.b");
  assert.equal(formatLocalPart("a b"), '"a b"');
  assert.equal(formatLocalPart(""), '""');
  assert.equal(formatLocalPart(".a"), '".a"');
  assert.equal(formatLocalPart('"\\'), '"\\"\\\\"');
});

const localParts = fc.string({ unit: fc.constantFrom(...'ab."\\ @<>é'), maxLength: 20 });

Deno.test("parsePath() reads back what formatLocalPart() writes (property)", () => {
  fc.assert(
    fc.property(localParts, (localPart) => {
      const { path } = parsePath(`<${formatLocalPart(localPart)}@b.test>`, UTF8);
      assert.equal(path?.localPart, localPart);
    }),
    { numRuns: 500 },
  );
});

Deno.test("parsePath() throws nothing but AddressError, and lets no control character through (property)", () => {
  const texts = fc.string({ unit: fc.constantFrom(...'ab."\\@<>:[],é\0\r\n\u0085 \tIPv6:1'), maxLength: 30 });
  fc.assert(
    fc.property(texts, fc.boolean(), (text, smtputf8) => {
      try {
        const { path } = parsePath(`<${text}`, { smtputf8, bare: "any" });
        // deno-lint-ignore no-control-regex
        assert.doesNotMatch(`${path?.localPart}@${path?.domain}${path?.text}`, /[\0-\x1f\x7f-\x9f]/);
      } catch (error) {
        assert.ok(error instanceof AddressError, String(error));
      }
    }),
    { numRuns: 3000 },
  );
});

// Where time grows with the square of the length, this does not end.
Deno.test("parsePath() ends with paths that are far too long", () => {
  for (const [begin, again] of [["<", "a."], ['<"', "\\a"], ["<a@", "b."], ["<@", ",@a"]] as const) {
    assert.notEqual(fault(begin + again.repeat(500_000)), undefined);
  }
});

Deno.test("isIpv4() and isIpv6() judge as the system's parser does, which also takes zones", () => {
  const group = fc.oneof(
    { weight: 8, arbitrary: fc.stringMatching(/^[0-9a-fA-F]{0,4}$/) },
    fc.constantFrom("", "0", "00000", "g", "1.2.3.4", "1.2.3", "01.2.3.4", "256.1.1.1", " 1"),
  );
  const number = fc.oneof(fc.nat(300).map(String), fc.constantFrom("", "00", "01", "1e1", "-1", "0x1"));
  const text = fc.oneof(
    fc.ipV4(),
    fc.ipV6(),
    fc.array(number, { minLength: 3, maxLength: 5 }).map((parts) => parts.join(".")),
    fc.array(group, { minLength: 1, maxLength: 10 }).map((groups) => groups.join(":")),
  );
  fc.assert(
    fc.property(text, (text) => {
      assert.equal(isIpv4(text) ? 4 : isIpv6(text) ? 6 : 0, isIP(text));
    }),
    { numRuns: 2000 },
  );
});

Deno.test("parsePath() puts local-parts with dots at the ends or in a row in quotes, as other servers may want them", () => {
  for (
    const [written, text] of [
      ["<try..this..0511@docomo.example>", '"try..this..0511"@docomo.example'],
      ["<name.@Ezweb.example> SIZE=1", '"name."@Ezweb.example'],
      ["<.name@[192.0.2.1]>", '".name"@[192.0.2.1]'],
      ["<a.b@c.test>", "a.b@c.test"],
    ] as const
  ) {
    const { path } = parsePath(written, ASCII);
    assert.equal(path?.text, text);
    assert.deepEqual(parsePath(`<${text}>`, ASCII).path, path);
  }
});
