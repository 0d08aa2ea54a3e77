import assert from "node:assert/strict";
import { readReport } from "./read.ts";

const octets = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

Deno.test("readReport() keeps a bounded number of policies and details, and counts the others", () => {
  const detail = { "result-type": "x", "failed-session-count": 1 };
  const policy = (details: number) => ({ "failure-details": Array(details).fill(detail) });
  const few = readReport(octets({ policies: [policy(2), 0, null, [], "x"] }));
  assert.deepEqual(few.policies.map(({ details }) => details.length), [2, 0, 0, 0, 0]);
  assert.equal(few.more, 0);
  const many = readReport(octets({ policies: Array(1_002).fill(policy(11)) }));
  assert.equal(many.policies.length, 1_000);
  assert.equal(many.policies.reduce((sum, { details }) => sum + details.length, 0), 10_000);
  assert.equal(many.more, 2 + 1_000);
  const one = readReport(octets({ policies: [policy(12_000)] }));
  assert.equal(one.policies[0]?.details.length, 10_000);
  assert.equal(one.more, 2_000);
});
