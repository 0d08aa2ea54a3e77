import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";
import { join } from "@std/path";
import { DkimSigner } from "../dkim/sign.ts";
import { parseConfig } from "../config/load.ts";
import { StaticResolver } from "../tests/support/static_resolver.ts";
import { RefusalWatch } from "../doctor/problem_checks.ts";
import { currentProblems } from "../doctor/problem_watch.ts";
import { MaildirDelivery } from "../maildir/delivery.ts";
import { publishPolicy } from "../mta_sts/own_policy.ts";
import { PolicyServer } from "../mta_sts/policy_server.ts";
import { StagingArea } from "../storage/staging.ts";
import { createTestAuthority } from "../tests/support/test_authority.ts";
import type { CertificatePair } from "../tls/certificates.ts";
import { FakeClock, settle } from "../tests/support/fake_clock.ts";
import { MemoryQueue } from "../tests/support/memory_queue.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import { incomingDirectory, openMailboxes } from "./parts.ts";
import { causeOfOurs, relayProblemFile, watchServeIn, watchServeOut } from "./problem_parts.ts";
import { RecordingDelivery } from "../tests/support/recording_delivery.ts";
import { SmtpServer } from "../smtp/server.ts";
import { serverUpgrade } from "../tls/server_upgrade.ts";
import { until } from "../tests/support/until.ts";

const DAY = 86_400_000;

class Place implements AsyncDisposable {
  readonly directory = Deno.makeTempDirSync();
  readonly clock = new FakeClock(Date.now());
  readonly log = new RecordingLog();
  readonly config = parseConfig(`
hostname = "mx.example.com"
data_dir = "${this.directory}/data"
[serve-in]
domains = ["example.com"]
min_free_space = 0
[serve-out]
min_free_space = 0
[mailboxes]
path = "${this.directory}/mail/{domain}/{user}"
users = ["alice"]
[mailboxes.aliases]
postmaster = "alice"
`);

  constructor() {
    Deno.mkdirSync(incomingDirectory(this.config), { recursive: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.directory, { recursive: true });
  }
}

Deno.test("watchServeIn() writes to postmaster of a certificate that should have been renewed", async () => {
  await using place = new Place();
  const { config, clock, log } = place;
  const authority = await createTestAuthority();
  const issue = async (days: number) => {
    const notAfter = new Date(clock.now() + days * DAY);
    const notBefore = new Date(notAfter.getTime() - 90 * DAY);
    const { cert } = await authority.issue({ names: ["mx.example.com"], notBefore, notAfter });
    return new X509Certificate(cert);
  };
  const certificates = { pair: { leaf: await issue(13) } as CertificatePair };
  const delivery = new MaildirDelivery({
    mailboxes: openMailboxes(config),
    hostname: config.hostname,
    staging: new StagingArea({ directory: incomingDirectory(config) }),
    minFreeSpace: 0,
    logger: log,
    clock,
  });
  await using _watch = await watchServeIn({ config }, {
    delivery,
    certificates,
    resolver: () => undefined,
    clock,
    logger: log,
  });
  await clock.advance(2 * 60_000);
  const { fields } = await log.saw("message.delivered");
  const text = await Deno.readTextFile(String(fields["file"]));
  assert.match(text, /^Return-Path: <>\nDelivered-To: alice@example\.com\nDate: /);
  assert.match(text, /^Subject: mx\.example\.com: serve-in needs attention \(certificate\)$/m);
  assert.match(text, /^\* the certificate expires on \S+, in 12 days\.$/m);
  assert.match(text, /certbot renew/);
  assert.deepEqual(log.named("problem").map(({ fields }) => fields["kind"]), ["certificate"]);

  certificates.pair = { leaf: await issue(20) } as CertificatePair;
  await until(() => clock.pending > 0, "the next look", settle);
  await clock.advance(10 * 60_000);
  await log.saw("problem.resolved");
  assert.equal(log.named("message.delivered").length, 1);
  assert.ok((await Deno.stat(join(incomingDirectory(config), "trouble.json"))).isFile);
});

Deno.test("watchServeOut() queues a message for postmaster of what others refuse", async () => {
  await using place = new Place();
  const { config, clock, log } = place;
  const queue = new MemoryQueue();
  const submitted: string[] = [];
  const refusals = new RefusalWatch({ explain: causeOfOurs, now: () => clock.monotonic() });
  await using _watch = await watchServeOut({ config, resolver: new StaticResolver({ "example.com": {} }) }, {
    queue,
    scheduler: {
      undeliverable: { held: 0, recentlyHeld: 0, recentlyDropped: 0 },
      status: { waiting: 0, ready: 0, active: 0 },
      submit: ({ id }) => void submitted.push(id),
    },
    scanned: Promise.resolve(),
    signer: new DkimSigner({ keys: [], logger: log }),
    refusals,
    network: { interfaces: () => [], read: () => undefined },
    clock,
    logger: log,
  });
  const host = "mx.test";
  refusals.note({ status: "5.7.1", reply: "550 5.7.1 no", host });
  refusals.note({ status: "5.7.25", reply: "550 5.7.25 no PTR for you", host });
  await clock.advance(2 * 60_000);
  await log.saw("problem");
  await until(() => clock.pending > 0, "the next look", settle);
  const [entry, ...others] = queue.entries;
  assert.deepEqual(others, []);
  assert.equal(entry?.reversePath, "");
  assert.deepEqual(entry?.recipients.map(({ address }) => address), ["postmaster@example.com"]);
  assert.deepEqual(submitted, [entry?.id]);
  const text = queue.text(entry?.id ?? "");
  assert.match(text, /^Subject: mx\.example\.com: serve-out needs attention \(reply\)\r$/m);
  assert.match(
    text.replace(/\r\n +/g, " "),
    /\* mx\.test said: 550 5\.7\.25 no PTR for you\. The receiver wants .* DNS/,
  );
  assert.match(text.replace(/\r\n +/g, " "), /What to do: Have the provider .* set its reverse DNS/);
  const problems = await currentProblems(relayProblemFile(config), clock.now());
  assert.deepEqual(problems.map(({ kind }) => kind), ["reply"]);
});

/** Gives the texts that `alerts` posts during a watchServeOut() with these lines of configuration. */
async function watchOut(
  { directory, clock, log }: Place,
  { lines, work }: {
    readonly lines: string;
    readonly work: (texts: readonly string[], look: () => Promise<void>) => Promise<void>;
  },
): Promise<void> {
  const texts: string[] = [];
  const hook = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    texts.push((await request.json()).text);
    return new Response("");
  });
  try {
    const config = parseConfig(`hostname = "mx.example.com"
data_dir = "${directory}/data"
[serve-out]
min_free_space = 0
[alerts]
webhook = "http://127.0.0.1:${hook.addr.port}/"
${lines}`);
    await using _watch = await watchServeOut(
      { config, resolver: new StaticResolver({ "example.com": {} }) },
      {
        queue: new MemoryQueue(),
        scheduler: {
          undeliverable: { held: 0, recentlyHeld: 0, recentlyDropped: 0 },
          status: { waiting: 0, ready: 0, active: 0 },
          submit: () => {},
        },
        scanned: Promise.resolve(),
        signer: new DkimSigner({ keys: [], logger: log }),
        refusals: new RefusalWatch({ explain: causeOfOurs, now: () => clock.monotonic() }),
        network: { interfaces: () => [], read: () => undefined },
        clock,
        logger: log,
      },
    );
    await work(texts, async () => {
      await until(() => clock.pending > 0, "the next look", settle);
      await clock.advance(10 * 60_000);
      await until(() => clock.pending > 0, "the end of the look", settle);
    });
  } finally {
    await hook.shutdown();
  }
}

async function testTls(names: readonly string[]) {
  const authority = await createTestAuthority();
  return serverUpgrade({
    certificates: { secureContext: createSecureContext(await authority.issue({ names: [...names] })) },
  });
}

Deno.test("watchServeOut() sends an alert when serve-submit, which has TLS only, no longer answers", async () => {
  await using place = new Place();
  const submission = new SmtpServer({
    hostname: "mx.example.com",
    delivery: new RecordingDelivery(),
    logger: place.log,
    upgradeToTls: await testTls(["mx.example.com"]),
  });
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = submission.serve(listener, { implicitTls: true });
  await watchOut(place, {
    lines: `[serve-in]
port = 0
[serve-submit]
listen = ["127.0.0.1"]
port = false
tls_port = ${listener.addr.port}
`,
    work: async (texts, look) => {
      for (let i = 0; i < 3; i++) await look();
      assert.ok(!texts.join().includes("serve-submit"), texts.join());
      await submission.shutdown({ grace: 0 });
      await serving;
      for (let i = 0; i < 2; i++) await look();
      assert.match(texts.at(-1) ?? "", /serve-submit does not answer: connection refused/);
    },
  });
});

Deno.test("watchServeOut() sends an alert when serve-policy has no policy, or no longer answers", async () => {
  await using place = new Place();
  const { text } = publishPolicy({ mode: "enforce", mx: ["mx.example.com"], maxAge: 86_400 });
  const policies = new Map([["mta-sts.example.com", text]]);
  const server = new PolicyServer({
    upgradeToTls: await testTls(["mta-sts.example.com"]),
    policies,
    logger: place.log,
  });
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = server.serve(listener);
  await watchOut(place, {
    lines: `[serve-in]
domains = ["example.com"]
port = 0
[serve-policy]
listen = ["127.0.0.1"]
port = ${listener.addr.port}
[mta_sts]
mode = "enforce"
`,
    work: async (texts, look) => {
      for (let i = 0; i < 3; i++) await look();
      assert.ok(!texts.join().includes("serve-policy"), texts.join());
      server.policies = new Map();
      for (let i = 0; i < 2; i++) await look();
      assert.match(texts.at(-1) ?? "", /serve-policy does not answer: HTTP status 404/);
      server.policies = policies;
      await look();
      assert.match(texts.at(-1) ?? "", /^resolved: server, serve-policy$/m);
      await server.shutdown({ forced: AbortSignal.abort() });
      await serving;
      for (let i = 0; i < 2; i++) await look();
      assert.match(texts.at(-1) ?? "", /serve-policy does not answer: .*refused/i);
    },
  });
});

Deno.test("causeOfOurs() knows a block list by its words, whatever the code", () => {
  for (
    const reply of [
      "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
      "550 5.7.1 [192.0.2.1] Our system has detected a very low reputation of the sending IP address",
      "553 5.3.0 rejected: see https://www.barracudacentral.org/lookups",
    ]
  ) {
    assert.match(causeOfOurs({ status: reply.slice(4, 9), reply })?.meaning ?? "", /block list/, reply);
  }
  assert.equal(causeOfOurs({ status: "5.7.1", reply: "550 5.7.1 this content is not wanted" }), undefined);
});
