import assert from "node:assert/strict";
import { fc } from "../tests/support/property.ts";
import { assertLinear, countedText } from "../tests/support/counted.ts";
import { authorDomains, completeAddresses, mailboxes, parseAddressList } from "./address_list.ts";

Deno.test("parseAddressList() finds the addresses of a field", () => {
  const cases: readonly (readonly [string, readonly string[]])[] = [
    ["", []],
    ["a@x.test", ["a@x.test"]],
    ["alice, bob", ["alice", "bob"]],
    ["A <a@x.test>, b@x.test (B, the other), ", ["a@x.test", "b@x.test"]],
    ['"Doe, Jane <j>" <jane@x.test>', ["jane@x.test"]],
    ['"a,b"@x.test, c@x.test', ['"a,b"@x.test', "c@x.test"]],
    ["Friends: a@x.test, B <b@x.test>; c@x.test", ["a@x.test", "b@x.test", "c@x.test"]],
    ["undisclosed-recipients:;", []],
    ["<@relay.test,@other.test:a@x.test>", ["a@x.test"]],
    ["a@[IPv6:2001:db8::1], b@[192.0.2.1]", ["a@[IPv6:2001:db8::1]", "b@[192.0.2.1]"]],
    ["Ä <ä@x.test>", ["ä@x.test"]],
    ["(a (nested \\) one) comment) a@x.test", ["a@x.test"]],
    ['<"a>b"@x.test>', ['"a>b"@x.test']],
    ['"a\\"b" @ x . test', ['"a\\"b"@x.test']],
    ["joe(home)@(sweet)home.test", ["joe@home.test"]],
    ["joe\r\n\t@ x.\r\n test", ["joe@x.test"]],
    ["<>, <a@x.test>", ["a@x.test"]],
    // Not by the grammar: refused by whoever is to send there, and not sent elsewhere.
    ["two words", ["two words"]],
    ["two words@x.test", ["two words@x.test"]],
    ["<two (x) words@x.test>", ["two words@x.test"]],
    ['"a" b@x.test', ['"a" b@x.test']],
    ["<a@x.test, b@x.test>", ["a@x.test, b@x.test"]],
    ["a@x.test <b@x.test>", ["b@x.test"]],
    ["<a@x.test> <b@x.test>", ["a@x.test", "b@x.test"]],
    ["<a@x.test <b@x.test>", ["a@x.test", "b@x.test"]],
    ["<unclosed@x.test", ["unclosed@x.test"]],
    ['"unclosed', ['"unclosed']],
    ["a\\,b@x.test", ["a\\,b@x.test"]],
    [`${"a".repeat(2000)}@x.test`, ["a".repeat(1000)]],
  ];
  for (const [value, expected] of cases) assert.deepEqual(parseAddressList(value), expected, value);
});

Deno.test("mailboxes() says where names and addresses stand, and what is plain", () => {
  const value = ' "A" B (c) <a@x.test> (d),\r\n bob (e), @odd';
  const [first, second, third] = mailboxes(value);
  assert.deepEqual(first?.name, { start: 1, end: 6 });
  assert.equal(value.slice(0, first?.end), ' "A" B (c) <a@x.test');
  assert.deepEqual([first?.domain, first?.plain], ["x.test", true]);
  assert.equal(value.slice(0, second?.end).endsWith(" bob"), true);
  assert.deepEqual([second?.name, second?.domain, second?.plain], [undefined, undefined, true]);
  assert.deepEqual([third?.address, third?.plain], ["@odd", true]);
});

Deno.test("completeAddresses() completes bare addresses and nothing else", () => {
  const completed: readonly (readonly [string, string])[] = [
    [" alice\r\n", " alice@x.test\r\n"],
    [" alice.b+c\r\n", " alice.b+c@x.test\r\n"],
    [" root (Cron Daemon)\r\n", " root@x.test (Cron Daemon)\r\n"],
    [" Alice <alice>\r\n", " Alice <alice@x.test>\r\n"],
    [" Alice < alice >\r\n", " Alice < alice@x.test >\r\n"],
    [' "Doe, \\"A\\"" <alice>\r\n', ' "Doe, \\"A\\"" <alice@x.test>\r\n'],
    [" alice, bob@y.test,\r\n\tcarol\r\n", " alice@x.test, bob@y.test,\r\n\tcarol@x.test\r\n"],
    [" b@y.test, <alice> (at home), \r\n", " b@y.test, <alice@x.test> (at home), \r\n"],
    [" =?utf-8?q?=C3=A9?= <alice>\r\n", " =?utf-8?q?=C3=A9?= <alice@x.test>\r\n"],
    [" \u00c3\u00a9 <alice>\r\n", " \u00c3\u00a9 <alice@x.test>\r\n"],
    [" friends: alice, B <bob>;\r\n", " friends: alice@x.test, B <bob@x.test>;\r\n"],
    [" alice (a (nested \\) one) comment)\r\n", " alice@x.test (a (nested \\) one) comment)\r\n"],
    [' bob, "a b"@y.test, c @ y . test\r\n', ' bob@x.test, "a b"@y.test, c @ y . test\r\n'],
    [" A. B. C. <alice>\r\n", " A. B. C. <alice@x.test>\r\n"],
  ];
  for (const [value, expected] of completed) {
    assert.equal(completeAddresses(value, "x.test"), expected);
  }
});

Deno.test("completeAddresses() leaves alone what is complete or not plainly understood", () => {
  const untouched = [
    "\r\n",
    " alice@y.test\r\n",
    " undisclosed-recipients:;\r\n",
    " two words\r\n",
    " alice, two words\r\n",
    " alice (open\r\n",
    ' "quoted local"\r\n',
    " alice, <@route.test:bob>\r\n",
    " alice, <>\r\n",
    " alice, bob@\r\n",
    " alice, \u00c3\u00a9\r\n",
    " alice bob <carol> dave\r\n",
    ' "open <alice>\r\n',
    " <alice\r\n",
    " alice, bob)\r\n",
    " alice, a..b\r\n",
    " alice\\\r\n",
    " bob@y.test <alice>\r\n",
    " <alice> <bob>\r\n",
    ` ${"a".repeat(1001)}\r\n`,
  ];
  for (const value of untouched) {
    assert.equal(completeAddresses(value, "x.test"), undefined, value);
  }
});

Deno.test("completeAddresses() only ever inserts the domain (property)", () => {
  const text = fc.string({ unit: fc.constantFrom(...'ab.@<>(),:;"\\ \t\r\n[]'.split("")), maxLength: 40 });
  fc.assert(fc.property(text, (value) => {
    const completed = completeAddresses(value, "Q");
    if (completed !== undefined) assert.equal(completed.replaceAll("@Q", ""), value);
  }));
});

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
    [" joe@a(x).(y)example", ["a.example"]],
    [" People: a@a.example, b@b.example;", ["a.example", "b.example"]],
    [" <@r.example,@s.example:a@a.example>", ["a.example"]],
    [" a@b.example <c@d.example>", ["d.example"]],
    [" <a@b.example> <c@d.example>", ["b.example", "d.example"]],
    [" <a@b.example <c@d.example>", ["b.example", "d.example"]],
    [" a@b.example@d.example", ["d.example"]],
    [" =?utf-8?q?a=40b.example?= <c@d.example.>", ["d.example"]],
    [" <a@b\u00c3\u00bccher.example>", ["xn--bcher-kva.example"]],
    [" <a@[192.0.2.1]>", []],
    [" root", []],
    [" <>", []],
    [" a@-x.example", []],
    [" a@b .example c", ["b.example"]],
    // What a reader may take for the address, although it is none.
    [" a@b.example c", ["b.example"]],
    [" a@b.example)", ["b.example"]],
    [' a@b.example"c"', ["b.example"]],
    [" a@b.example\\,", ["b.example"]],
    [" <a@b.example c>", ["b.example"]],
    [" a@b.example[c]", ["b.example"]],
    ["", []],
    [" (", []],
    [' "', []],
    [" <a@b.example", ["b.example"]],
  ];
  for (const [value, domains] of cases) assert.deepEqual(authorDomains(value), domains, value);
  assert.deepEqual(authorDomains("a@x.test, b@X.test, c@y.test, d@x.test"), ["x.test", "y.test"]);
  const many = Array.from({ length: 1000 }, (_, i) => `a@x${i}.test`).join(",");
  assert.equal(authorDomains(many).length, 100);
  const { input, steps } = countedText("<a@x.test>,,".repeat(100_000));
  assert.ok(authorDomains(input).includes("x.test"));
  assert.ok(steps() < 4 * 16 * 1024, `${steps()} steps`);
});

Deno.test("address lists of any form are read in linear work", () => {
  const forms = [
    ...["@", " x", "a,", '"', "(", ")", "<", ">", "a ", "\\", " \t", "a.", "[", "]", ":", ";", "<@", "a:"],
    ...["<a>", "@ a ", '""', "(x)", "a@b,", "\t\r\n ", '"\\', "<@a:", "a<", ". "],
  ];
  for (const form of forms) {
    for (const begin of ["", "a", "<", "a@"]) {
      assertLinear((count) => {
        const { input, steps } = countedText(begin + form.repeat(count));
        for (const _ of mailboxes(input)) continue;
        return steps();
      }, { what: JSON.stringify(begin + form) });
      assertLinear((count) => {
        const { input, steps } = countedText(begin + form.repeat(count));
        completeAddresses(input, "x.test");
        return steps() + count;
      }, { what: JSON.stringify(begin + form) });
    }
  }
});

Deno.test("mailboxes() invents nothing: the characters of each address stand in the value, in order (property)", () => {
  const text = fc.string({ unit: fc.constantFrom(...'ab@<>(),;:"\\[] .\t') });
  fc.assert(
    fc.property(text, (value) => {
      let from = 0;
      for (const { address, end } of mailboxes(value)) {
        let at = from;
        for (const character of address.replaceAll(" ", "")) {
          at = value.indexOf(character, at) + 1;
          assert.ok(at > 0 && at <= end, `${address} in ${value}`);
        }
        from = Math.max(from, end);
      }
    }),
    { numRuns: 2000 },
  );
});
