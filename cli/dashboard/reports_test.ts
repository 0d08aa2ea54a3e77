import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { join } from "@std/path";
import { gzipSync } from "node:zlib";
import { dmarcRecord, dmarcReport, reportMail, zipOf } from "../../tests/support/dmarc_report.ts";
import { FakeClock } from "../../tests/support/fake_clock.ts";
import { ReceivedReports } from "./reports.ts";
import { reportsPage } from "./reports_page.ts";

const MARKUP = `<script>document.title="owned"</script>`;
const octets = (text: string) => new Uint8Array(Buffer.from(text));
const dmarc = (records: readonly string[], organization = "Receiver") =>
  reportMail(zipOf(octets(dmarcReport(records, { organization }))), "application/zip");
const tls = (report: unknown) =>
  reportMail(new Uint8Array(gzipSync(JSON.stringify(report))), "application/tlsrpt+gzip");

const TLS_REPORT = {
  "organization-name": "Sender",
  "date-range": { "start-datetime": "2026-11-29T00:00:00Z", "end-datetime": "2026-11-29T23:59:59Z" },
  policies: [{
    policy: { "policy-type": "sts", "policy-domain": "example.com" },
    summary: { "total-successful-session-count": 90, "total-failure-session-count": 10 },
    "failure-details": [{
      "result-type": "certificate-expired",
      "receiving-mx-hostname": "mx.example.com",
      "failed-session-count": 10,
    }],
  }],
};

/** A Maildir of these messages, the oldest first. */
async function withMailbox(
  use: (mailbox: {
    readonly maildir: string;
    readonly clock: FakeClock;
    readonly reports: ReceivedReports;
    put(part: "new" | "cur", content: Uint8Array): Promise<string>;
  }) => Promise<void>,
): Promise<void> {
  const maildir = await Deno.makeTempDir({ prefix: "mailapp-reports-" });
  const clock = new FakeClock();
  let seconds = 1_796_000_000;
  try {
    await use({
      maildir,
      clock,
      reports: new ReceivedReports({ maildir, clock }),
      async put(part, content) {
        await Deno.mkdir(join(maildir, part), { recursive: true });
        const path = join(maildir, part, `${seconds++}.M1P2Q3R0.mx,S=1,W=2${part === "cur" ? ":2,S" : ""}`);
        await Deno.writeFile(path, content);
        return path;
      },
    });
  } finally {
    await Deno.remove(maildir, { recursive: true });
  }
}

async function shown(reports: ReceivedReports): Promise<string> {
  await reports.look();
  await reports.idle();
  return String(await reportsPage(await reports.look()));
}

const words = (page: string) => page.replaceAll(/<[^>]*>/g, " ").replaceAll(/\s+/g, " ");

Deno.test("the page of reports reads no more of a small message than a report has", async () => {
  await withMailbox(async ({ reports, put }) => {
    const many = (text: string, octets: number) => `[${text.repeat(octets / text.length)}0]`;
    // Each of these is some kilobytes of gzip.
    for (const text of ["0,", "{},", '{"failure-details":[0]},']) {
      const report = `{"policies":${many(text, 1024 * 1024)}}`;
      await put("new", reportMail(new Uint8Array(gzipSync(report)), "application/tlsrpt+gzip"));
    }
    const long = `{"policies":${many("0,", 5 * 1024 * 1024)}}`;
    await put("new", reportMail(new Uint8Array(gzipSync(long)), "application/tlsrpt+gzip"));
    await put("new", tls(TLS_REPORT));
    assert.match(words(await shown(reports)), /10 of 100|certificate-expired/);
    const { tls: found, others } = await reports.look();
    assert.equal(others, 1);
    assert.equal(found.length, 3 * 20 + 1);
  });
});

Deno.test("the page of reports shows who reports what, the sources that failed, and why TLS failed", async () => {
  await withMailbox(async ({ reports, clock, put }) => {
    assert.match(words(await shown(reports)), /DMARC reports: none .* 0 other messages/);
    await put(
      "cur",
      dmarc([dmarcRecord(), dmarcRecord({ source: "198.51.100.9", count: 50, dkim: "pass" })]),
    );
    await put("new", dmarc([dmarcRecord({ count: 4 })], "Other"));
    await put("new", tls(TLS_REPORT));
    await put("new", octets("Subject: hello\n\nno report\n"));
    await clock.advance(60_000);
    const page = words(await shown(reports));
    assert.match(page, /Receiver example\.com 2026-11-29 .*? to 2026-11-2\d .*? 50 3 /);
    assert.match(page, /Other example\.com .*? 0 4 /);
    assert.match(page, /192\.0\.2\.7 example\.com 7 Other, Receiver dkim=fail example\.com \(s1\)/);
    assert.doesNotMatch(page, /198\.51\.100\.9/);
    assert.match(page, /Sender example\.com sts 2026-11-29 .*? 100 10 /);
    assert.match(page, /certificate-expired mx\.example\.com 10 The certificate has expired\./);
    assert.match(page, / 1 other messages in the mailbox/);
  });
});

Deno.test("ReceivedReports reads a message once, follows it as a reader moves it, and forgets it when it is gone", async () => {
  await withMailbox(async ({ reports, clock, maildir, put }) => {
    const path = await put("new", dmarc([dmarcRecord()]));
    assert.match(words(await shown(reports)), /Receiver example\.com/);
    // Its content is not read again.
    await Deno.mkdir(join(maildir, "cur"));
    await Deno.writeTextFile(path, "");
    const moved = path.replace("/new/", "/cur/") + ":2,S";
    await Deno.rename(path, moved);
    await clock.advance(60_000);
    assert.match(words(await shown(reports)), /Receiver example\.com/);
    await Deno.remove(moved);
    await clock.advance(60_000);
    assert.match(words(await shown(reports)), /DMARC reports: none/);
  });
});

Deno.test("hostile reports are text, and bounded in number, size and effect", async () => {
  await withMailbox(async ({ reports, put }) => {
    await put("new", dmarc([dmarcRecord({ source: "&lt;img src=x&gt;" })], MARKUP.replaceAll("<", "&lt;")));
    await put(
      "new",
      tls({ ...TLS_REPORT, "organization-name": MARKUP, "date-range": { "start-datetime": "x" } }),
    );
    await put("new", tls({ policies: Array.from({ length: 10_000 }, () => TLS_REPORT.policies[0]) }));
    await put("new", reportMail(new Uint8Array(gzipSync(Buffer.alloc(50 << 20))), "application/gzip"));
    await put("new", reportMail(zipOf(new Uint8Array(50 << 20)), "application/zip"));
    await put("new", octets(`<!DOCTYPE x [<!ENTITY a "${"x".repeat(100)}">]><feedback>&a;</feedback>`));
    await put("new", new Uint8Array(6 << 20));
    const page = await shown(reports);
    assert.doesNotMatch(page, /<script>|<img/);
    assert.match(page, /&lt;script&gt;/);
    assert.match(
      words(page),
      / 3 other messages in the mailbox are no reports, or cannot be read; 1 older or longer/,
    );
    const { tls: summaries } = await reports.look();
    assert.ok(summaries.length <= 21, String(summaries.length));
  });
});

Deno.test("ReceivedReports looks at the newest messages of a mailbox that is too full, and says so", async () => {
  await withMailbox(async ({ reports, put }) => {
    await put("new", dmarc([dmarcRecord()], "Oldest"));
    for (let index = 0; index < 500; index++) await put("new", octets("Subject: x\n\nx\n"));
    const page = words(await shown(reports));
    assert.doesNotMatch(page, /Oldest/);
    assert.match(page, / 500 other messages .*; 1 older or longer ones are not looked at/);
  });
});

Deno.test("the page of reports says how to name the mailbox, and why it cannot be read", async () => {
  const none = new ReceivedReports({ clock: new FakeClock() });
  assert.equal(none.isConfigured, false);
  assert.match(String(await reportsPage(undefined)), /\[dashboard\] reports/);
  await withMailbox(async ({ reports, maildir }) => {
    await Deno.writeTextFile(join(maildir, "new"), "no directory");
    assert.match(words(await shown(reports)), /The mailbox cannot be read: /);
  });
});
