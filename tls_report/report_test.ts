import assert from "node:assert/strict";
import { gunzipSync, gzipSync } from "node:zlib";
import { Buffer } from "node:buffer";
import { HEAD, mailOf, NOW, resultsOf } from "../tests/support/tls_report.ts";
import { readReport, ReportError } from "./read.ts";
import { reportEndpoints, showEndpointUri } from "./record.ts";
import { packReport, reportJson } from "./report.ts";
import { dayOf, note, type Results, resultsFromJson, resultsToJson, type SessionResult } from "./results.ts";

const STS: SessionResult["policy"] = {
  type: "sts",
  strings: ["version: STSv1", "mode: enforce", "mx: mx.a.test", "max_age: 86400"],
  mxHosts: ["mx.a.test"],
};
const failure = {
  type: "certificate-expired",
  host: "mx.a.test",
  address: "192.0.2.1",
  sender: "203.0.113.5",
  reason: "CERT_HAS_EXPIRED",
};
function some(): Results {
  const results: Results = new Map();
  note(results, { domain: "a.test", policy: STS }, NOW);
  note(results, { domain: "a.test", policy: STS, failure }, NOW);
  note(results, { domain: "a.test", policy: STS, failure }, NOW);
  note(results, { domain: "a.test", policy: { type: "no-policy-found", strings: [], mxHosts: [] } }, NOW);
  return results;
}

Deno.test("reportJson() has the members of RFC 8460 §4.4 and no others", () => {
  assert.deepEqual(reportJson(HEAD, resultsOf(some())), {
    "organization-name": "Client Inc.",
    "date-range": { "start-datetime": "2026-11-29T00:00:00Z", "end-datetime": "2026-11-29T23:59:59Z" },
    "contact-info": "postmaster@client.test",
    "report-id": "r1",
    policies: [
      {
        policy: {
          "policy-type": "sts",
          "policy-string": STS.strings,
          "policy-domain": "a.test",
          "mx-host": ["mx.a.test"],
        },
        summary: { "total-successful-session-count": 1, "total-failure-session-count": 2 },
        "failure-details": [{
          "result-type": "certificate-expired",
          "receiving-mx-hostname": "mx.a.test",
          "receiving-ip": "192.0.2.1",
          "sending-mta-ip": "203.0.113.5",
          "failed-session-count": 2,
          "failure-reason-code": "CERT_HAS_EXPIRED",
        }],
      },
      {
        policy: { "policy-type": "no-policy-found", "policy-domain": "a.test" },
        summary: { "total-successful-session-count": 1, "total-failure-session-count": 0 },
      },
    ],
  });
});

Deno.test("readReport() reads what is sent: as JSON, packed, and as the mail", () => {
  const report = packReport(HEAD, resultsOf(some()));
  const mail = mailOf(report);
  const text = Buffer.from(mail).toString("latin1");
  assert.ok(text.split("\r\n").every((line) => line.length <= 998 && !/[\r\n]/.test(line)));
  assert.match(text, /^TLS-Report-Domain: a\.test\r\nTLS-Report-Submitter: client\.test\r\n/m);
  assert.match(text, /filename="client\.test!a\.test!1795910400!1795996799!r1\.json\.gz"/);
  assert.match(text, /^TLS-Required: No\r\n/m);
  for (const file of [report, new Uint8Array(gunzipSync(report)), mail]) {
    const read = readReport(file);
    assert.equal(read.organization, "Client Inc.");
    assert.deepEqual(
      read.policies.map(({ type, domain, successes, failures }) => [type, domain, successes, failures]),
      [
        ["sts", "a.test", 1, 2],
        ["no-policy-found", "a.test", 1, 0],
      ],
    );
    assert.deepEqual(read.policies[0]?.details, [
      { ...failure, count: 2 },
    ]);
  }
});

Deno.test("readReport() says what is not a report, and unpacks no more than it may", () => {
  const bomb = new Uint8Array(gzipSync(Buffer.alloc(40 * 1024 * 1024)));
  for (
    const file of [
      new Uint8Array(),
      Buffer.from("Subject: x\r\n\r\nhello\r\n"),
      Buffer.from("{}"),
      Buffer.from("{"),
      new Uint8Array([0x1f, 0x8b, 1, 2, 3]),
      bomb,
      Buffer.from(
        "Content-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n",
      ),
    ]
  ) assert.throws(() => readReport(file), ReportError);
  const odd = readReport(
    Buffer.from(JSON.stringify({ policies: [null, 7, { summary: { "total-failure-session-count": -1 } }] })),
  );
  assert.deepEqual(odd.policies.map(({ failures }) => failures), [0, 0, 0]);
});

Deno.test("reportEndpoints() reads rua of the one record", () => {
  const uris = (...records: string[]) => reportEndpoints(records).map(showEndpointUri);
  assert.deepEqual(uris("v=TLSRPTv1; rua=mailto:tls@a.test,https://r.a.test/v1/tlsrpt?x=1"), [
    "mailto:tls@a.test",
    "https://r.a.test/v1/tlsrpt?x=1",
  ]);
  assert.deepEqual(uris("v=TLSRPTv1;rua=https://r.a.test:8443/", "v=spf1 -all"), ["https://r.a.test:8443/"]);
  for (
    const record of [
      "v=TLSRPTv2; rua=mailto:a@b.test",
      "v=TLSRPTv1",
      "v=TLSRPTv1; rua=http://r.a.test/",
      "v=TLSRPTv1; rua=https://u:p@r.a.test/",
      "v=TLSRPTv1; rua=https://[::1]/",
      "v=TLSRPTv1; rua=mailto:a%0d%0ab@c.test",
      "v=TLSRPTv1; rua=mailto:nobody",
    ]
  ) assert.deepEqual(uris(record), [], record);
  assert.deepEqual(uris("v=TLSRPTv1; rua=mailto:a@b.test", "v=TLSRPTv1; rua=mailto:c@d.test"), []);
  assert.equal(uris(`v=TLSRPTv1; rua=${new Array(20).fill("mailto:a@b.test").join(",")}`).length, 5);
});

Deno.test("note() counts by day, domain and policy, within its bounds", () => {
  const results = some();
  for (let i = 0; i < 100; i++) {
    note(results, { domain: "a.test", policy: STS, failure: { ...failure, address: `192.0.2.${i}` } }, NOW);
    note(results, { domain: "a.test", policy: { ...STS, strings: [`version ${i}`] } }, NOW);
  }
  const { policies } = resultsOf(results);
  assert.equal(policies.length, 4);
  assert.equal(policies[0]?.failures, 102);
  assert.equal(policies[0]?.details.length, 20);
  for (let i = 0; i < 10_100; i++) note(results, { domain: `d${i}.test`, policy: STS }, NOW);
  assert.equal(results.get(dayOf(NOW))?.size, 10_000);
  for (let day = 1; day < 10; day++) note(results, { domain: "a.test", policy: STS }, NOW + day * 86_400_000);
  assert.equal(results.size, 3);
});

Deno.test("resultsFromJson() takes what resultsToJson() gives, and leaves out what makes no sense", () => {
  const results = some();
  const json = JSON.parse(JSON.stringify(resultsToJson(results)));
  assert.deepEqual(resultsFromJson(json), results);
  for (const odd of [null, 7, [null], [{ day: "x", domains: [] }], [{ day: "2026-11-29" }]]) {
    assert.equal(resultsFromJson(odd).size, 0);
  }
  json[0].domains.push(["b.test", { policies: [{}], sent: [] }], ["c.test", null]);
  assert.deepEqual(resultsFromJson(json), results);
});
