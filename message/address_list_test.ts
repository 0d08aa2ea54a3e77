import assert from "node:assert/strict";
import fc from "fast-check";
import { parseAddressList } from "./address_list.ts";

Deno.test("parseAddressList() finds the addresses of a field", () => {
  const cases: [string, string[]][] = [
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
    ["<unclosed@x.test", ["unclosed@x.test"]],
    ['"unclosed', ['"unclosed']],
  ];
  for (const [value, expected] of cases) assert.deepEqual(parseAddressList(value), expected, value);
});

Deno.test("parseAddressList() ends on any input", () => {
  const text = fc.string({ unit: fc.constantFrom(...'ab@<>(),;:"\\[] ') });
  fc.assert(fc.property(text, (value) => parseAddressList(value).every((address) => address !== "")));
});
