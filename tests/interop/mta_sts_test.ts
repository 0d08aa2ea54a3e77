// MTA-STS in relaying, by a serve-out in its own network: BIND as DNS, nginx as policy hosts, servers with and
// without good certificates as MX hosts.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { createTestAuthority, type Leaf } from "../support/test_authority.ts";
import { HOST_PROGRAMS, makeHost } from "../support/hosts.ts";
import { runMailapp, RunningMailapp, Workspace } from "../support/mailapp.ts";
import { FAILING, startBind } from "../support/peers/bind.ts";
import { type Folder, makeFolder } from "../support/peers/folder.ts";
import { type Site, startNginx } from "../support/peers/nginx.ts";
import { runOk, startUntil } from "../support/peers/process.ts";
import type { SinkOptions } from "../support/peers/tls_sinks.ts";
import type { PolicyResults } from "../../tls_report/results.ts";
import { testWith } from "../support/requires.ts";

const SINKS = fileURLToPath(new URL("../support/peers/tls_sinks.ts", import.meta.url));

async function files(folder: Folder, name: string, { cert, key }: Leaf) {
  return { cert: await folder.write(`${name}.crt`, cert), key: await folder.write(`${name}.key`, key) };
}

/** The text of a policy. */
function policy(mode: string, mx: readonly string[], age = 86_400): string {
  return ["version: STSv1", `mode: ${mode}`, ...mx.map((host) => `mx: ${host}`), `max_age: ${age}`, ""]
    .join("\r\n");
}

interface Case {
  /** What the policy host serves; absent: nothing answers there. */
  readonly site?: Partial<Site>;
  /** MX hosts, best first; one in the domain unless said. */
  readonly mx?: readonly ("good" | "bad" | "plain" | "other")[];
  /** Whether the policy host's certificate is for another name. */
  readonly badPolicyHost?: boolean;
  /** Whether TXT cannot be asked for. */
  readonly failing?: boolean;
  /** What happens to a message: the event, what asked for TLS, how far that went, and the error. */
  readonly expected: readonly [
    event: string,
    policy?: string | undefined,
    tls?: string | undefined,
    error?: RegExp,
  ];
}

const LISTED = /the MTA-STS policy of \S+ does not list mx1\.\S+$/;

const CASES: Readonly<Record<string, Case>> = {
  "enforce.test": {
    site: { text: policy("enforce", ["mx1.enforce.test"]) },
    expected: ["relayed", "mta-sts", "verified"],
  },
  "wildcard.test": {
    site: { text: policy("enforce", ["*.wildcard.test"]) },
    expected: ["relayed", "mta-sts", "verified"],
  },
  "mismatch.test": {
    site: { text: policy("enforce", ["mx1.other.test", "*.mx1.mismatch.test", "mismatch.test"]) },
    expected: ["deferred", "mta-sts", undefined, LISTED],
  },
  "second.test": {
    site: { text: policy("enforce", ["mx2.second.test", "mx3.second.test"]) },
    mx: ["good", "bad", "other"],
    expected: ["relayed", "mta-sts", "verified"],
  },
  "badmx.test": {
    site: { text: policy("enforce", ["mx1.badmx.test"]) },
    mx: ["bad"],
    expected: ["deferred", "mta-sts", undefined, /certificate not accepted .*MTA-STS policy of badmx\.test/],
  },
  "plain.test": {
    site: { text: policy("enforce", ["mx1.plain.test"]) },
    mx: ["plain"],
    expected: ["deferred", "mta-sts", undefined, /TLS is required.*MTA-STS policy of plain\.test/],
  },
  "testing.test": {
    site: { text: policy("testing", ["mx1.other.test"]) },
    mx: ["bad"],
    expected: ["relayed", "mta-sts-testing", "unverified"],
  },
  "none.test": {
    site: { text: policy("none", []) },
    mx: ["plain"],
    expected: ["relayed", undefined, "none"],
  },
  "overruled.test": {
    site: { text: policy("enforce", ["mx1.other.test"]) },
    mx: ["bad"],
    expected: ["relayed", "configuration", "unverified"],
  },
  "badhost.test": {
    site: { text: policy("enforce", ["mx1.other.test"]) },
    badPolicyHost: true,
    expected: ["relayed", undefined, "verified"],
  },
  "redirect.test": {
    site: { redirect: "https://mta-sts.mismatch.test/.well-known/mta-sts.txt" },
    expected: ["relayed", undefined, "verified"],
  },
  "large.test": {
    site: { text: policy("enforce", ["mx1.other.test"]) + `x: ${"x".repeat(65_536)}\r\n` },
    expected: ["relayed", undefined, "verified"],
  },
  "html.test": {
    site: { text: policy("enforce", ["mx1.other.test"]), type: "text/html" },
    expected: ["relayed", undefined, "verified"],
  },
  "down.test": { expected: ["relayed", undefined, "verified"] },
  "dnsfails.test": {
    site: { text: policy("enforce", ["mx1.other.test"]) },
    failing: true,
    expected: ["relayed", undefined, "verified"],
  },
  // A first message waits for no policy longer than 30 s.
  "slow.test": {
    site: { text: policy("enforce", ["mx1.other.test"]), rate: 1 },
    expected: ["relayed", undefined, "verified"],
  },
  "expires.test": {
    site: { text: policy("enforce", ["mx1.other.test"], 5) },
    expected: ["deferred", "mta-sts", undefined, LISTED],
  },
};

testWith(
  [...HOST_PROGRAMS, "named", "nginx", "curl", "swaks"],
  "serve-out keeps the MTA-STS policies of the domains it sends to",
  async (t) => {
    await using folder = await makeFolder("sts");
    await using workspace = await Workspace.create();
    await using host = await makeHost();
    const { through } = host;
    const [authority, stranger] = [await createTestAuthority(), await createTestAuthority("stranger")];
    const domains = Object.keys(CASES);
    const names = domains.flatMap((domain) => [1, 2, 3].map((n) => `mx${n}.${domain}`));
    const good = await files(folder, "good", await authority.issue({ names }));
    const bad = await files(folder, "bad", await stranger.issue({ names }));
    const policyHosts = await files(
      folder,
      "policy",
      await authority.issue({
        names: domains.filter((domain) => !CASES[domain]?.badPolicyHost).map((domain) => `mta-sts.${domain}`),
      }),
    );
    const sinks: SinkOptions[] = [
      { address: "127.0.1.1", ...good },
      { address: "127.0.1.2", ...bad },
      { address: "127.0.1.3" },
      { address: "127.0.1.4", ...good },
    ];
    await using taking = await startUntil(through[0] ?? "", {
      args: [...through.slice(1), Deno.execPath(), "run", "-A", "--quiet", SINKS, JSON.stringify(sinks)],
      ready: ({ line }) => line(/^ready$/),
    });
    const where = { good: "127.0.1.1", bad: "127.0.1.2", plain: "127.0.1.3", other: "127.0.1.4" };
    const zones = (ids: Readonly<Record<string, string>> = {}) =>
      Object.fromEntries(
        Object.entries(CASES).flatMap(([domain, { mx = ["good"] as const, failing, site }]) => [
          [
            domain,
            [
              ...mx.flatMap((kind, i) => [`@ MX ${i + 1} mx${i + 1}`, `mx${i + 1} A ${where[kind]}`]),
              ...(failing ? [] : [`_mta-sts TXT "v=STSv1; id=${ids[domain] ?? 1}"`]),
              `mta-sts A ${site === undefined ? "127.0.2.9" : "127.0.2.1"}`,
            ].join("\n"),
          ],
          ...(failing ? [[`_mta-sts.${domain}`, FAILING]] : []),
        ]),
      );
    const sites = (changed: Readonly<Record<string, Partial<Site>>> = {}) =>
      Object.fromEntries(
        Object.entries(CASES).flatMap(([domain, { site }]) =>
          site === undefined
            ? []
            : [[`mta-sts.${domain}`, { ...policyHosts, ...site, ...changed[domain] } satisfies Site]]
        ),
      );
    let dns = await startBind(zones(), { port: 53, through });
    await using web = await startNginx(sites(), { address: "127.0.2.1", through });
    const config = await workspace.configure({
      "": { hostname: "out.client.test", data_dir: workspace.file("state") },
      dns: { servers: ["127.0.0.1"] },
      "serve-in": {},
      metrics: { serve_out: "127.0.0.1:9466" },
      "serve-out": { listen: ["127.0.0.1"], port: 25, allow_private_targets: true, retry: ["2s"] },
      "serve-out.tls_policy": { "overruled.test": "require" },
    });
    const env = { DENO_CERT: await folder.write("authority.pem", authority.cert) };
    const serve = () => new RunningMailapp(["serve-out", "--config", config], { through, env });
    const send = async (recipients: readonly string[]) => {
      const [swaks = "", ...rest] = [...through, "swaks"];
      const to = ["--to", recipients.join(",")];
      await runOk(swaks, { args: [...rest, "--server", "127.0.0.1", "--from", "a@client.test", ...to] });
    };

    {
      await using server = serve();
      await server.event("server.ready");
      await send(domains.map((domain) => `x@${domain}`));
      for (const [domain, { expected: [outcome, policy, tls, error] }] of Object.entries(CASES)) {
        await t.step(`${domain}: ${outcome}`, async () => {
          const where = { recipient: `x@${domain}` };
          const event = await server.event(`attempt.${outcome}`, { where });
          assert.equal(event["policy"], policy);
          if (tls !== undefined) assert.equal(event["tls"], tls);
          if (error !== undefined) assert.match(String(event["error"]), error);
          const first = server.events.find(({ event, recipient }) =>
            event.startsWith("attempt.") && recipient === where.recipient
          );
          assert.equal(first, event);
        });
      }
      await t.step("what a policy in testing would not have allowed is logged", async () => {
        const event = await server.event("mta_sts.testing", { where: { domain: "testing.test" } });
        assert.equal(event["reason"], "the policy does not list the host");
      });
      await t.step("why a policy could not be had is logged", async () => {
        const reasons = {
          "badhost.test": "sts-webpki-invalid",
          "redirect.test": "sts-policy-fetch-error",
          "large.test": "sts-policy-invalid",
          "html.test": "sts-policy-fetch-error",
          "down.test": "sts-policy-fetch-error",
        };
        for (const [domain, reason] of Object.entries(reasons)) {
          const event = await server.event("mta_sts.fetch_failed", { where: { domain } });
          assert.equal(event["reason"], reason, String(event["error"]));
        }
      });
      await t.step("explain and queue show say which policy it is", async () => {
        const run = async (...args: string[]) => {
          const { stdout } = await runMailapp([...args, "--config", config], { through, env });
          return stdout;
        };
        const enforced = await run("explain", "x@mismatch.test");
        assert.match(enforced, /mx1\.mismatch\.test .*: not used: the MTA-STS policy of \S+ does not list /);
        assert.match(enforced, /MTA-STS policy of mismatch\.test, id 1, until 20\S+ \S+Z, in mode enforce/);
        assert.match(await run("explain", "x@overruled.test"), /set in \[serve-out\.tls_policy\]/);
        assert.match(await run("explain", "x@redirect.test"), /cannot be fetched.*status 301/);
        const tried: Record<string, RegExp> = {
          "enforce.test": /over TLS; the certificate is valid for the host$/m,
          "badmx.test": /no mail would be sent: certificate not accepted /,
          "plain.test": /no mail would be sent: TLS is required, and the server does not offer it/,
          "testing.test": /in mode testing.*\n/,
          "none.test": /mail would be sent without TLS$/m,
          "mismatch.test": /no mail would be sent: the MTA-STS policy of /,
        };
        for (const [domain, expected] of Object.entries(tried)) {
          assert.match(await run("explain", "--connect", `x@${domain}`), expected);
        }
        const json = JSON.parse(await run("explain", "--json", "--connect", "x@mismatch.test"));
        assert.match(json.targets[0].trial.error, LISTED);
        assert.equal(json.mta_sts.mode, "enforce");
        assert.match(json.mta_sts.expires_at, /^20\S+Z$/);
        assert.equal(json.targets[0].mta_sts_allowed, false);
        const [entry] = JSON.parse(await run("queue", "list", "--json", "--domain", "badmx.test"));
        const shown = await run("queue", "show", entry.id);
        assert.match(shown, /mx1\.badmx\.test \[127\.0\.1\.2\] \(required by MTA-STS\): certificate not/);
      });
      await t.step("sessions and fetches are counted, and status shows what became of the mail", async () => {
        const [curl = "", ...rest] = [...through, "curl"];
        const metrics = await runOk(curl, { args: [...rest, "-sS", "http://127.0.0.1:9466/metrics"] });
        const value = (name: string) =>
          Number(metrics.split("\n").find((line) => line.startsWith(`${name} `))?.split(" ")[1] ?? NaN);
        const sessions = (policy: string, result: string) =>
          value(`mailapp_relay_policy_sessions_total{policy="${policy}",result="${result}"}`);
        // enforce.test, wildcard.test, second.test; those that fail are tried again.
        assert.equal(sessions("mta-sts", "kept"), 3);
        assert.ok(sessions("mta-sts", "validation-failure") >= 1);
        assert.ok(sessions("mta-sts", "certificate-not-trusted") >= 1);
        assert.ok(sessions("mta-sts", "starttls-not-supported") >= 1);
        assert.equal(sessions("mta-sts-testing", "certificate-not-trusted"), 1);
        assert.equal(sessions("configuration", "certificate-not-trusted"), 1);
        assert.equal(value('mailapp_mta_sts_fetches_total{result="sts-webpki-invalid"}'), 1);
        assert.equal(value('mailapp_mta_sts_fetches_total{result="sts-policy-invalid"}'), 1);
        assert.ok(value('mailapp_mta_sts_fetches_total{result="sts-policy-fetch-error"}') >= 3);
        const log = await folder.write(
          "log",
          server.events.map((event) => `${JSON.stringify(event)}\n`).join(""),
        );
        const { stdout } = await runMailapp(["status", "--json", "--config", config, "--log", log], {
          through,
          env,
        });
        const { policies } = JSON.parse(stdout);
        assert.deepEqual(policies.map(({ policy }: { policy: string }) => policy), [
          "configuration",
          "mta-sts",
          "mta-sts-testing",
        ]);
        assert.equal(policies[1].relayed, 3);
        assert.ok(policies[1].deferred >= 3);
      });
      assert.equal(await server.stop(), 0);
      await t.step("what came of it is counted for reports", async () => {
        const { days } = JSON.parse(await Deno.readTextFile(workspace.file("state", "tls-reports.json")));
        const found = new Map<string, { policies: PolicyResults[] }>(days.flatMap((
          { domains }: { domains: [string, { policies: PolicyResults[] }][] },
        ) => domains));
        const of = (domain: string) =>
          found.get(domain)?.policies.map(({ policy, successes, failures, details }) => [
            policy.type,
            successes > 0,
            failures > 0,
            ...details.map(({ type }) => type),
          ]);
        assert.deepEqual(of("enforce.test"), [["sts", true, false]]);
        assert.deepEqual(of("mismatch.test"), [["sts", false, true, "validation-failure"]]);
        assert.deepEqual(of("badmx.test"), [["sts", false, true, "certificate-not-trusted"]]);
        assert.deepEqual(of("plain.test"), [["sts", false, true, "starttls-not-supported"]]);
        assert.deepEqual(of("none.test"), [["no-policy-found", false, true, "starttls-not-supported"]]);
        assert.deepEqual(of("badhost.test"), [["sts", false, true, "sts-webpki-invalid"]]);
        assert.equal(of("overruled.test"), undefined);
        const [detail] = found.get("badmx.test")?.policies[0]?.details ?? [];
        assert.deepEqual([detail?.address, detail?.sender], ["127.0.1.2", "127.0.0.1"]);
      });
    }
    await dns.program.stop();
    dns = await startBind(zones({ "enforce.test": "2", "wildcard.test": "2", "second.test": "2" }), {
      port: 53,
      through,
    });
    await web.reload(sites({
      "wildcard.test": { text: policy("enforce", ["mx1.other.test"]) },
      "enforce.test": { ...policyHosts, redirect: "https://mta-sts.none.test/" },
      "expires.test": { redirect: "https://mta-sts.none.test/" },
      "mismatch.test": { redirect: "https://mta-sts.none.test/" },
    }));
    await using server = serve();
    await server.event("server.ready");
    await t.step("a kept policy outlives a restart and a policy host that has none any more", async () => {
      await send(["y@enforce.test"]);
      const event = await server.event("attempt.relayed", { where: { recipient: "y@enforce.test" } });
      assert.equal(event["policy"], "mta-sts");
      const failed = await server.event("mta_sts.fetch_failed", { where: { domain: "enforce.test" } });
      assert.equal(failed["kept"], true);
    });
    await t.step("a policy with another id is taken", async () => {
      await send(["y@wildcard.test"]);
      await server.event("mta_sts.policy", { where: { domain: "wildcard.test", id: "2" } });
      await send(["z@wildcard.test"]);
      const event = await server.event("attempt.deferred", { where: { recipient: "z@wildcard.test" } });
      assert.match(String(event["error"]), LISTED);
    });
    await t.step("a policy that has expired and cannot be fetched again does not apply", async () => {
      const event = await server.event("attempt.relayed", { where: { recipient: "x@expires.test" } });
      assert.equal(event["policy"], undefined);
    });
    await t.step("a kept policy applies while its host is down", async () => {
      await web.program.stop();
      await send(["y@second.test"]);
      const event = await server.event("attempt.relayed", { where: { recipient: "y@second.test" } });
      assert.deepEqual([event["policy"], event["tls"]], ["mta-sts", "verified"]);
      const failed = await server.event("mta_sts.fetch_failed", { where: { domain: "second.test" } });
      assert.deepEqual([failed["kept"], failed["reason"]], [true, "sts-policy-fetch-error"]);
    });
    assert.equal(await server.stop(), 0);
    await dns[Symbol.asyncDispose]();
    assert.ok(!taking.lines.some((line) => / x@(?:mismatch|badmx|plain)\.test /.test(line)));
    for (const to of ["x", "y"]) {
      assert.ok(taking.lines.some((line) => line.startsWith(`127.0.1.4 ${to}@second.test `)));
    }
  },
);
