import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { gzipSync } from "node:zlib";
import { fc } from "../tests/support/property.ts";
import { dmarcRecord, dmarcReport, reportMail, zipOf } from "../tests/support/dmarc_report.ts";
import { AggregateReportError, MAX_ROWS, readAggregateReport } from "./aggregate_report.ts";

const octets = (text: string) => new Uint8Array(Buffer.from(text));
const XML = octets(dmarcReport([
  dmarcRecord(),
  dmarcRecord({ source: "2001:db8::7", count: 40, dkim: "pass", disposition: "none" }),
]));

Deno.test("readAggregateReport() reads XML, gzip and ZIP, by themselves and in a mail, whatever their type is called", () => {
  const expected = readAggregateReport(XML);
  assert.deepEqual(expected, {
    organization: "Receiver & Sons",
    contact: "dmarc@receiver.example",
    id: "r-1",
    from: 1_795_910_400_000,
    to: 1_795_996_799_000,
    domain: "example.com",
    policy: "reject",
    passed: 40,
    failed: 3,
    rows: [
      {
        source: "192.0.2.7",
        messages: 3,
        disposition: "reject",
        dkim: false,
        spf: false,
        headerFrom: "example.com",
        checks: ["dkim=fail example.com (s1)", "dkim=pass other.example", "spf=fail b.example"],
        reasons: ["local_policy: arc=pass"],
      },
      {
        source: "2001:db8::7",
        messages: 40,
        disposition: "none",
        dkim: true,
        spf: false,
        headerFrom: "example.com",
        checks: ["dkim=pass example.com (s1)", "dkim=pass other.example", "spf=fail b.example"],
        reasons: ["local_policy: arc=pass"],
      },
    ],
    more: 0,
  });
  const forms: readonly (readonly [content: Uint8Array, type: string])[] = [
    [XML, "text/xml"],
    [new Uint8Array(gzipSync(XML)), "application/gzip"],
    [new Uint8Array(gzipSync(XML)), "application/octet-stream"],
    [zipOf(XML), "application/zip"],
    [zipOf(XML, { method: 0 }), "application/x-zip-compressed"],
  ];
  for (const [content, type] of forms) {
    assert.deepEqual(readAggregateReport(content), expected, type);
    const mail = reportMail(content, type);
    assert.deepEqual(readAggregateReport(mail), expected, `${type} in a mail`);
    const crlf = octets(Buffer.from(mail).toString("latin1").replaceAll("\n", "\r\n"));
    assert.deepEqual(readAggregateReport(crlf), expected, `${type} in a mail with CRLF`);
  }
  const named = Buffer.from(XML).toString().replace(
    "<feedback>",
    '<d:feedback xmlns:d="urn:ietf:params:xml:ns:dmarc-2.0">',
  )
    .replace("</feedback>", "</d:feedback>");
  assert.deepEqual(readAggregateReport(octets(named)), expected);
});

/** A report in which nothing is believed. */
const HOSTILE: Readonly<Record<string, Uint8Array>> = {
  "nothing": new Uint8Array(),
  "text": octets("Subject: x\n\nhello\n"),
  "another XML": octets("<html/>"),
  "not closed": XML.subarray(0, 900),
  "entities that expand": octets(
    `<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><feedback>&b;</feedback>`,
  ),
  "an entity of a file": octets(
    `<!DOCTYPE feedback [<!ENTITY x SYSTEM "file:///etc/passwd">]><feedback>&x;</feedback>`,
  ),
  "an undeclared entity": octets("<feedback>&nbsp;</feedback>"),
  "deep nesting": octets("<feedback>" + "<a>".repeat(100_000)),
  // A path has the names of all elements around it.
  "long names": octets(
    `<feedback><record><${"a".repeat(10_000)}><b/></${"a".repeat(10_000)}></record></feedback>`,
  ),
  "many attributes": octets(
    `<feedback ${Array.from({ length: 1000 }, (_, i) => `a${i}=""`).join(" ")}></feedback>`,
  ),
  "a record of many elements": octets(
    `<feedback><record>${Array.from({ length: 1000 }, (_, i) => `<a${i}/>`).join("")}</record></feedback>`,
  ),
  "a gzip bomb": new Uint8Array(gzipSync(Buffer.alloc(64 * 1024 * 1024))),
  "a ZIP bomb": zipOf(new Uint8Array(64 * 1024 * 1024)),
  "a damaged gzip": new Uint8Array([0x1f, 0x8b, 8, 0, 1, 2, 3]),
  "a ZIP without its end": zipOf(XML).subarray(0, -22),
  "an encrypted ZIP": zipOf(XML, { flags: 1 }),
  "a ZIP of another compression": zipOf(XML, { method: 12 }),
  "a mail whose parts never end": reportMail(XML, "text/xml").subarray(0, -8),
  "a mail with another part": reportMail(XML, "image/png"),
};

for (const [name, file] of Object.entries(HOSTILE)) {
  Deno.test(`readAggregateReport() rejects ${name}`, () => {
    assert.throws(() => readAggregateReport(file), AggregateReportError);
  });
}

Deno.test("readAggregateReport() keeps a bounded number of rows, and texts of bounded length", () => {
  const long = dmarcReport(
    Array.from({ length: MAX_ROWS + 5 }, () => dmarcRecord({ source: "x".repeat(100_000).slice(0, 400) })),
    { organization: "o".repeat(10_000) },
  );
  const { organization, rows, more, failed } = readAggregateReport(octets(long));
  assert.deepEqual([rows.length, more, failed], [MAX_ROWS, 5, 3 * (MAX_ROWS + 5)]);
  assert.deepEqual([organization.length, rows[0]?.source.length], [255, 255]);
});

Deno.test("readAggregateReport() takes counts and times for what they can be", () => {
  for (const count of ["-1", "1e9", "NaN", "", "9".repeat(400), "0x10"]) {
    const xml = dmarcReport([dmarcRecord()]).replace("<count>3<", `<count>${count}<`)
      .replace("<begin>1795910400<", `<begin>${count}<`);
    const { failed, from } = readAggregateReport(octets(xml));
    assert.deepEqual([failed, from], [0, NaN], count);
  }
});

Deno.test("readAggregateReport() of any octets, and of reports with octets changed, gives a report or its error", () => {
  const attempt = (file: Uint8Array) => {
    try {
      readAggregateReport(file);
    } catch (error) {
      if (!(error instanceof AggregateReportError)) throw error;
    }
  };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), attempt));
  const whole = [XML, zipOf(XML), new Uint8Array(gzipSync(XML)), reportMail(zipOf(XML), "application/zip")];
  fc.assert(
    fc.property(
      fc.constantFrom(...whole),
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 5 }),
      (file, changes) => {
        const changed = Uint8Array.from(file);
        for (const [at, octet] of changes) changed[at % changed.length] = octet;
        attempt(changed);
      },
    ),
  );
});
