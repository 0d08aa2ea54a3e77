import assert from "node:assert/strict";
import { reasonFor, reasonOf } from "./queue_summary.ts";

Deno.test("reasonOf() is the same for all messages that wait for one reason", () => {
  for (
    const [reason, ...others] of [
      ["connection refused", "connection refused (seen by an earlier attempt)"],
      [
        "450 4.2.0 <…>: greylisted",
        "450 4.2.0 <bob@example.net>: greylisted",
        "450 4.2.0 <…>: greylisted\nsee help",
      ],
      ["451 4.3.0 … later", "451 4.3.0 4f6YkT2mZz later", "451 4.3.0 1796069971 later"],
      // As postgrey and others count down.
      [
        "450 4.2.0 try again in … seconds",
        "450 4.2.0 try again in 293 seconds",
        "450 4.2.0 try again in 7 seconds",
      ],
      ["450 4.2.0 come back in …s", "450 4.2.0 come back in 12s"],
      ["450 4.2.0 come back in …", "450 4.2.0 come back in 00:04:37", "450 4.2.0 come back in 4:37"],
      ["421 4.7.0 see …", "421 4.7.0 see https://example.net/a?ip=192.0.2.1"],
    ] as const
  ) {
    for (const words of [reason, ...others]) assert.equal(reasonOf(words), reason);
  }
  assert.notEqual(reasonOf("451 4.3.0 later"), reasonOf("451 4.3.2 later"));
});

Deno.test("reasonFor() is the same for all domains that have one trouble", () => {
  const reasons = ["a.test", "b.example"].map((domain) => {
    const error = `MX of ${domain}: no answer from 192.0.2.1`;
    return reasonFor({
      status: "pending",
      domain,
      attempts: [{ at: 0, host: domain, status: "4.4.3", error }],
    });
  });
  assert.deepEqual(reasons, ["MX of …: no answer from 192.0.2.1", "MX of …: no answer from 192.0.2.1"]);
});
