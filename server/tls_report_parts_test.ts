import assert from "node:assert/strict";
import { gunzipSync } from "node:zlib";
import { parseConfig } from "../config/load.ts";
import type { KeptPolicy } from "../mta_sts/policies.ts";
import { parsePolicy } from "../mta_sts/policy.ts";
import type { Target } from "../relay/mx.ts";
import type { NewEntry } from "../relay/queue.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import { type StaticName, StaticResolver } from "../tests/support/static_resolver.ts";
import type { HttpsRequest, HttpsResponse } from "../tls/https_request.ts";
import { readReport } from "../tls_report/read.ts";
import { TlsReports } from "./tls_report_parts.ts";

const NOON = Date.UTC(2026, 10, 29, 12);
const HOUR = 3_600_000;
const NONE = { kind: "none", reason: "" } as const;

const TARGET: Target = {
  host: "mx.a.test",
  address: "192.0.2.1",
  family: 4,
  port: 25,
  via: "mx",
  tls: "prefer",
  authenticated: false,
  policyDomain: "a.test",
};
const EXPIRED = { type: "certificate-expired", why: "CERT_HAS_EXPIRED" } as const;
const NO_TLS = { type: "starttls-not-supported", why: "no STARTTLS" } as const;

/** Reports in their own directory, with everything around them in memory. */
class World implements AsyncDisposable {
  readonly clock = new FakeClock(NOON);
  readonly log = new RecordingLog();
  readonly zone: Record<string, StaticName> = {};
  readonly mails: { entry: NewEntry; message: Uint8Array }[] = [];
  readonly posts: HttpsRequest[] = [];
  readonly submitted: string[] = [];
  status = 200;
  kept: KeptPolicy | undefined;
  missing: "sts-policy-fetch-error" | undefined;
  settings = "";
  #ids = 0;
  #reports: TlsReports | undefined;

  constructor(readonly directory: string) {}

  async open(): Promise<TlsReports> {
    const config = parseConfig(
      `hostname = "out.client.test"\ndata_dir = ${JSON.stringify(this.directory)}\n[serve-out]\n` +
        `qualify_domain = "client.test"\n${this.settings}`,
    );
    const reports = await TlsReports.open({
      live: { config, resolver: new StaticResolver(this.zone) },
      policies: { peek: () => this.kept, failure: () => this.missing },
      logger: this.log,
      clock: this.clock,
      random: () => 0.5,
      post: (request): Promise<HttpsResponse> => {
        this.posts.push(request);
        return Promise.resolve({ status: this.status, headers: new Map(), body: new Uint8Array() });
      },
    });
    reports.start({
      queue: {
        newId: () => `id${++this.#ids}`,
        add: (entry, message) => {
          this.mails.push({ entry, message });
          return Promise.resolve();
        },
      },
      scheduler: { submit: ({ id }) => void this.submitted.push(id) },
      signer: {
        sign: (_id, message) =>
          Promise.resolve(new Uint8Array([...new TextEncoder().encode("DKIM-Signature: x\r\n"), ...message])),
      },
    });
    return this.#reports = reports;
  }

  /** Lets the clock go on, and what that starts come to its end. */
  async pass(ms: number): Promise<void> {
    await this.clock.advance(ms);
    await this.#reports?.idle();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.directory, { recursive: true });
  }
}

async function world(): Promise<World> {
  return new World(await Deno.makeTempDir());
}

Deno.test("TlsReports reports a day's sessions by signed mail, within four hours after its end", async () => {
  await using all = await world();
  all.zone["_smtp._tls.a.test"] = { txt: ["v=TLSRPTv1; rua=mailto:tls@reports.test"] };
  await using reports = await all.open();
  reports.note(TARGET, { dane: NONE, problem: undefined });
  // No policy: nothing that a certificate could fail.
  reports.note(TARGET, { dane: NONE, problem: EXPIRED });
  reports.note(TARGET, { dane: NONE, problem: NO_TLS, local: "203.0.113.5" });
  await all.pass(11 * HOUR);
  assert.equal(all.mails.length, 0);
  await all.pass(5 * HOUR);
  assert.equal(all.mails.length, 1);
  const [{ entry, message } = assert.fail()] = all.mails;
  assert.deepEqual(entry.recipients.map(({ address, domain }) => [address, domain]), [
    ["tls@reports.test", "reports.test"],
  ]);
  assert.equal(entry.reversePath, "");
  assert.equal(entry.tlsOptional, true);
  assert.equal(entry.size, message.length);
  assert.deepEqual(all.submitted, [entry.id]);
  const text = new TextDecoder().decode(message);
  assert.match(text, /^DKIM-Signature: x\r\n/);
  assert.match(text, /^From: <postmaster@client\.test>\r$/m);
  const report = readReport(message);
  assert.equal(report.from, "2026-11-29T00:00:00Z");
  assert.deepEqual(report.policies.map(({ type, successes, failures }) => [type, successes, failures]), [
    ["no-policy-found", 2, 1],
  ]);
  assert.deepEqual(report.policies[0]?.details.map(({ sender, address }) => [sender, address]), [
    ["203.0.113.5", "192.0.2.1"],
  ]);
  await all.pass(48 * HOUR);
  assert.equal(all.mails.length, 1);
});

Deno.test("TlsReports names the policy, and what failed by it", async () => {
  await using all = await world();
  all.zone["_smtp._tls.a.test"] = { txt: ["v=TLSRPTv1; rua=https://r.a.test/in"] };
  all.zone["r.a.test"] = { a: ["198.51.100.7"] };
  const text = "version: STSv1\nmode: enforce\nmx: mx.a.test\nmax_age: 1000000\n";
  all.kept = { domain: "a.test", id: "1", policy: parsePolicy(text), text, fetchedAt: NOON, usedAt: NOON };
  await using reports = await all.open();
  const sts = { domain: "a.test", mode: "enforce", id: "1", until: NOON, allowed: true } as const;
  reports.note({ ...TARGET, sts }, { dane: NONE, problem: undefined });
  reports.note({ ...TARGET, sts }, { dane: NONE, problem: EXPIRED });
  reports.note({ ...TARGET, host: "x.test", sts: { ...sts, allowed: false } }, {
    dane: NONE,
    problem: { type: "validation-failure", why: "not listed" },
  });
  const records = [{ usage: 3, selector: 1, matchingType: 1, data: new Uint8Array([0xab]) }];
  reports.note(TARGET, { dane: { kind: "records", records, baseDomain: "mx.a.test" }, problem: undefined });
  all.kept = undefined;
  all.missing = "sts-policy-fetch-error";
  reports.note(TARGET, { dane: NONE, problem: undefined });
  await all.pass(16 * HOUR);
  const [request = assert.fail()] = all.posts;
  assert.equal(`${request.host} ${request.path} ${request.addresses}`, "r.a.test /in 198.51.100.7");
  assert.equal(request.headers?.["content-type"], "application/tlsrpt+gzip");
  const json = JSON.parse(new TextDecoder().decode(gunzipSync(request.body ?? new Uint8Array())));
  assert.deepEqual(
    json.policies.map((one: Record<string, Record<string, unknown>>) => [
      one["policy"]?.["policy-type"],
      one["policy"]?.["policy-string"],
      Object.values(one["summary"] ?? {}),
    ]),
    [
      ["sts", text.trim().split("\n"), [1, 2]],
      ["tlsa", ["3 1 1 AB"], [1, 0]],
      ["sts", undefined, [0, 1]],
    ],
  );
  assert.deepEqual(
    json.policies.flatMap((one: { "failure-details"?: { "result-type": string }[] }) =>
      (one["failure-details"] ?? []).map((detail) => detail["result-type"])
    ),
    ["certificate-expired", "validation-failure", "sts-policy-fetch-error"],
  );
});

Deno.test("TlsReports counts neither reports, nor routes, nor what the configuration asks for", async () => {
  await using all = await world();
  all.zone["_smtp._tls.a.test"] = { txt: ["v=TLSRPTv1; rua=mailto:tls@a.test"] };
  await using reports = await all.open();
  reports.note({ ...TARGET, relaxed: true }, { dane: NONE, problem: NO_TLS });
  reports.note({ ...TARGET, configured: true }, { dane: NONE, problem: NO_TLS });
  const { policyDomain: _, ...route } = TARGET;
  reports.note({ ...route, via: "route" }, { dane: NONE, problem: NO_TLS });
  await all.pass(16 * HOUR);
  assert.equal(all.mails.length, 0);
});

Deno.test("TlsReports keeps what it counted over a restart, and sends what could not be sent again", async () => {
  await using all = await world();
  all.zone["_smtp._tls.a.test"] = { txt: ["v=TLSRPTv1; rua=https://r.a.test/in,mailto:tls@a.test"] };
  all.zone["r.a.test"] = { a: ["198.51.100.7"] };
  {
    await using reports = await all.open();
    reports.note(TARGET, { dane: NONE, problem: undefined });
  }
  await all.clock.advance(20 * HOUR);
  all.status = 503;
  await using _reports = await all.open();
  await all.pass(0.6 * HOUR);
  assert.deepEqual([all.posts.length, all.mails.length], [1, 1]);
  assert.ok(all.log.events.some(({ event }) => event === "tls_report.not_sent"));
  all.status = 202;
  await all.pass(0.6 * HOUR);
  assert.deepEqual([all.posts.length, all.mails.length], [2, 1]);
  await all.pass(2 * HOUR);
  assert.equal(all.posts.length, 2);
});

Deno.test("TlsReports asks for no private address, and says nothing to who did not ask, or with tls_reports = false", async () => {
  await using all = await world();
  all.zone["_smtp._tls.a.test"] = { txt: ["v=TLSRPTv1; rua=https://r.a.test/in"] };
  all.zone["r.a.test"] = { a: ["127.0.0.1"] };
  {
    await using reports = await all.open();
    reports.note(TARGET, { dane: NONE, problem: undefined });
    reports.note({ ...TARGET, policyDomain: "b.test" }, { dane: NONE, problem: undefined });
    await all.pass(16 * HOUR);
  }
  all.zone["r.a.test"] = { a: ["198.51.100.7"] };
  all.settings = "tls_reports = false\n";
  await using _reports = await all.open();
  await all.pass(2 * HOUR);
  assert.deepEqual([all.posts.length, all.mails.length], [0, 0]);
});
