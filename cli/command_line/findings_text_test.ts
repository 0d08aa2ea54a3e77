import assert from "node:assert/strict";
import type { Finding } from "../../doctor/finding.ts";
import { describeFindings } from "./findings_text.ts";

const FINDINGS: readonly Finding[] = [
  { id: "clock", subject: "this machine", outcome: "ok", what: "right" },
  { id: "mx", subject: "a.test", outcome: "untested", what: "no DNS" },
  { id: "spf", subject: "a.test", outcome: "warning", what: "soft\u001b[2J", next: "do this" },
  { id: "dns", subject: "a.test", outcome: "failure", what: "silent" },
  { id: "rights", subject: "/d", outcome: "ok", what: "closed" },
];

Deno.test("doctor shows failures first, then warnings, and counts what is well", () => {
  assert.equal(
    describeFindings(FINDINGS, { all: false }),
    `FAILURE: dns a.test: silent
WARNING: spf a.test: soft\\u001b[2J
    → do this
cannot be tested from here: mx a.test: no DNS
2 ok (--all shows them)

1 failure, 1 warning, 1 cannot be tested from here
`,
  );
  const all = describeFindings(FINDINGS, { all: true });
  assert.match(all, /no DNS\nok: clock this machine: right\nok: rights \/d: closed\n\n1 failure/);
});
