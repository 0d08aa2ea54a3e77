// Reports against the schema of RFC 8460 §4.4, written down here on its own; and as a reader reads them that is not ours.
import assert from "node:assert/strict";
import { gunzipSync } from "node:zlib";
import { z } from "zod";
import { seeded } from "../tests/support/chance.ts";
import { makeFolder } from "../tests/support/peers/folder.ts";
import { runOk } from "../tests/support/peers/process.ts";
import { testWith } from "../tests/support/requires.ts";
import { HEAD, mailOf, NOW, resultsOf } from "../tests/support/tls_report.ts";
import { packReport } from "./report.ts";
import { note, type Results, type SessionResult } from "./results.ts";

const RESULT_TYPES = [
  // §4.3.1
  ...[
    "starttls-not-supported",
    "certificate-host-mismatch",
    "certificate-expired",
    "certificate-not-trusted",
  ],
  "validation-failure",
  // §4.3.2.1 and §4.3.2.2
  ...["tlsa-invalid", "dnssec-invalid", "dane-required"],
  ...["sts-policy-fetch-error", "sts-policy-invalid", "sts-webpki-invalid"],
] as const;

const text = z.string().min(1);
const count = z.int().nonnegative();
const host = z.string().regex(/^(?:[a-z0-9-]+\.)+[a-z0-9-]+$/);
const ip = z.union([z.ipv4(), z.ipv6()]);

/** §4.4; members that it does not name are not allowed. */
const REPORT = z.strictObject({
  "organization-name": text,
  "date-range": z.strictObject({ "start-datetime": z.iso.datetime(), "end-datetime": z.iso.datetime() }),
  "contact-info": text,
  "report-id": text,
  policies: z.array(z.strictObject({
    policy: z.strictObject({
      "policy-type": z.enum(["tlsa", "sts", "no-policy-found"]),
      "policy-string": z.array(text).optional(),
      "policy-domain": host,
      "mx-host": z.array(z.string().regex(/^(?:\*\.)?(?:[a-z0-9-]+\.)+[a-z0-9-]+$/)).optional(),
    }),
    summary: z.strictObject({
      "total-successful-session-count": count,
      "total-failure-session-count": count,
    }),
    "failure-details": z.array(z.strictObject({
      "result-type": z.enum(RESULT_TYPES),
      "sending-mta-ip": ip.optional(),
      "receiving-mx-hostname": host.optional(),
      "receiving-mx-helo": text.optional(),
      "receiving-ip": ip.optional(),
      "failed-session-count": z.int().positive(),
      "additional-information": text.optional(),
      "failure-reason-code": text.optional(),
    })).optional(),
  })).min(1),
});

const POLICIES: readonly SessionResult["policy"][] = [
  {
    type: "sts",
    strings: ["version: STSv1", "mode: enforce", "mx: *.a.test", "max_age: 86400"],
    mxHosts: ["*.a.test"],
  },
  { type: "tlsa", strings: [`3 1 1 ${"AB".repeat(32)}`], mxHosts: [] },
  { type: "no-policy-found", strings: [], mxHosts: [] },
];

/** Sessions with all kinds of results; the same for the same seed. */
function results(seed: number): Results {
  const random = seeded(seed);
  const pick = <T>(items: readonly T[]) => items[Math.floor(random() * items.length)] as T;
  const all: Results = new Map();
  for (let i = 0; i < 60; i++) {
    const failed = random() < 0.7;
    note(all, {
      domain: "a.test",
      policy: pick(POLICIES),
      ...(failed && {
        failure: {
          type: pick(RESULT_TYPES),
          host: pick(["", "mx1.a.test", "mx2.a.test"]),
          address: pick(["", "192.0.2.1", "2001:db8::1"]),
          sender: pick(["", "203.0.113.1", "2001:db8::2"]),
          reason: pick(["CERT_HAS_EXPIRED", 'says "no"\r\nand more', "ü"]),
        },
      }),
    }, NOW);
  }
  return all;
}

Deno.test("packReport() makes what the schema of RFC 8460 allows, and its sums are right", () => {
  for (let seed = 1; seed <= 50; seed++) {
    const json = JSON.parse(gunzipSync(packReport(HEAD, resultsOf(results(seed)))).toString());
    const { policies, "date-range": range } = REPORT.parse(json);
    assert.ok(range["start-datetime"] < range["end-datetime"]);
    for (const { summary, "failure-details": details = [] } of policies) {
      const failed = details.reduce((sum, detail) => sum + detail["failed-session-count"], 0);
      // Beyond a number of kinds only the sum goes on.
      assert.ok(failed <= summary["total-failure-session-count"]);
      if (details.length < 20) assert.equal(failed, summary["total-failure-session-count"]);
    }
  }
});

/** Python's own mail package, and what parsedmarc wants of a report: what must be there, and of which kind it is. */
const READER = `
import email, email.policy, gzip, json, sys
mail = email.message_from_binary_file(sys.stdin.buffer, policy=email.policy.SMTP)
assert not mail.defects, mail.defects
assert mail.get_content_type() == "multipart/report" and mail.get_param("report-type") == "tlsrpt"
domain, submitter = mail["TLS-Report-Domain"], mail["TLS-Report-Submitter"]
[part] = [part for part in mail.walk() if part.get_content_type() == "application/tlsrpt+gzip"]
assert not part.defects, part.defects
name = part.get_filename().split("!")
assert name[:2] == [submitter, domain] and int(name[2]) < int(name[3]), name
report = json.loads(gzip.decompress(part.get_payload(decode=True)))
for field in ["organization-name", "date-range", "contact-info", "report-id", "policies"]:
    assert field in report, field
assert isinstance(report["policies"], list)
words = [report["organization-name"], report["date-range"]["start-datetime"], report["date-range"]["end-datetime"]]
for policy in report["policies"]:
    kind = policy["policy"]["policy-type"]
    assert kind in ["tlsa", "sts", "no-policy-found"], kind
    assert policy["policy"]["policy-domain"] == domain
    assert isinstance(policy["policy"].get("policy-string", []), list)
    words += [kind, policy["summary"]["total-successful-session-count"], policy["summary"]["total-failure-session-count"]]
    for detail in policy.get("failure-details", []):
        words += [detail["result-type"], detail["failed-session-count"]]
print(json.dumps(words))
`;

testWith(["python3"], "a report by mail is understood by a reader that is not ours", async () => {
  await using folder = await makeFolder("tlsrpt-reader");
  const reader = await folder.write("reader.py", READER);
  for (let seed = 1; seed <= 5; seed++) {
    const found = resultsOf(results(seed));
    const mail = mailOf(packReport(HEAD, found));
    const path = folder.at("report.eml");
    await Deno.writeFile(path, mail);
    const said = await runOk("sh", { args: ["-c", 'exec python3 "$0" <"$1"', reader, path] });
    assert.deepEqual(JSON.parse(said), [
      "Client Inc.",
      "2026-11-29T00:00:00Z",
      "2026-11-29T23:59:59Z",
      ...found.policies.flatMap(({ policy, successes, failures, details }) => [
        policy.type,
        successes,
        failures,
        ...details.flatMap(({ type, count }) => [type, count]),
      ]),
    ]);
  }
});
