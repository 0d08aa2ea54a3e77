import assert from "node:assert/strict";
import { publishPolicy } from "./own_policy.ts";
import { parsePolicy, type Policy } from "./policy.ts";
import { policyId } from "./record.ts";

const enforce: Policy = { mode: "enforce", mx: ["mx.example.com", "*.example.net"], maxAge: 604_800 };

Deno.test("publishPolicy() writes what parsePolicy() reads, and a record with the id", () => {
  for (
    const policy of [enforce, { ...enforce, mode: "testing" }, { mode: "none", mx: [], maxAge: 1 }] as const
  ) {
    const { text, id, record } = publishPolicy(policy);
    assert.deepEqual(parsePolicy(text), policy);
    assert.equal(policyId([record]), id);
  }
});

Deno.test("publishPolicy() writes lines that end with CRLF, and no mx for mode none", () => {
  assert.equal(
    publishPolicy(enforce).text,
    "version: STSv1\r\nmode: enforce\r\nmx: mx.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n",
  );
  assert.doesNotMatch(publishPolicy({ ...enforce, mode: "none" }).text, /mx:/);
});

Deno.test("publishPolicy() gives another id to another text, and the same one to the same", () => {
  const others: Policy[] = [
    { ...enforce, mode: "testing" },
    { ...enforce, mx: ["mx.example.com"] },
    { ...enforce, maxAge: 604_801 },
  ];
  const ids = [enforce, ...others].map((policy) => publishPolicy(policy).id);
  assert.equal(new Set(ids).size, ids.length);
  assert.equal(publishPolicy({ ...enforce }).id, ids[0]);
});
