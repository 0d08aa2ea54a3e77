import assert from "node:assert/strict";
import fc from "fast-check";
import { completeAddresses } from "./address_field.ts";

Deno.test("completeAddresses() completes bare addresses and nothing else", () => {
  const completed: readonly (readonly [string, string])[] = [
    [" alice\r\n", " alice@x.test\r\n"],
    [" alice.b+c\r\n", " alice.b+c@x.test\r\n"],
    [" root (Cron Daemon)\r\n", " root@x.test (Cron Daemon)\r\n"],
    [" Alice <alice>\r\n", " Alice <alice@x.test>\r\n"],
    [' "Doe, \\"A\\"" <alice>\r\n', ' "Doe, \\"A\\"" <alice@x.test>\r\n'],
    [" alice, bob@y.test,\r\n\tcarol\r\n", " alice@x.test, bob@y.test,\r\n\tcarol@x.test\r\n"],
    [" b@y.test, <alice> (at home), \r\n", " b@y.test, <alice@x.test> (at home), \r\n"],
    [" =?utf-8?q?=C3=A9?= <alice>\r\n", " =?utf-8?q?=C3=A9?= <alice@x.test>\r\n"],
    [" \u00c3\u00a9 <alice>\r\n", " \u00c3\u00a9 <alice@x.test>\r\n"],
  ];
  for (const [value, expected] of completed) assert.equal(completeAddresses(value, "x.test"), expected);
});

Deno.test("completeAddresses() leaves alone what is complete or not plainly understood", () => {
  const untouched = [
    "\r\n",
    " alice@y.test\r\n",
    " undisclosed-recipients:;\r\n",
    " friends: alice, bob;\r\n",
    " two words\r\n",
    " alice, two words\r\n",
    " alice (a (nested) comment)\r\n",
    " alice (open\r\n",
    ' "quoted local"\r\n',
    " <@route.test:alice>\r\n",
    " <>\r\n",
    " alice@\r\n",
    " \u00c3\u00a9\r\n",
    " alice bob <carol> dave\r\n",
    ' "open <alice>\r\n',
  ];
  for (const value of untouched) assert.equal(completeAddresses(value, "x.test"), undefined, value);
});

Deno.test("completeAddresses() only ever inserts the domain", () => {
  const text = fc.string({ unit: fc.constantFrom(...'ab.@<>(),:;"\\ \t\r\n[]'.split("")), maxLength: 40 });
  fc.assert(fc.property(text, (value) => {
    const completed = completeAddresses(value, "Q");
    if (completed !== undefined) assert.equal(completed.replaceAll("@Q", ""), value);
  }));
});

Deno.test("completeAddresses() takes linear time", () => {
  for (const part of ["a,", '"', "(", "<", "a ", "\\", " \t", "a."]) {
    const began = performance.now();
    completeAddresses(part.repeat(200_000), "x.test");
    // Quadratic, it would take minutes.
    assert.ok(performance.now() - began < 5000, part);
  }
});
