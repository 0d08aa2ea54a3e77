// The rules of contrib/alerts.yml on series that our own metrics gave: SMTP servers, scheduler, resolver and log do their
// work on a clock of the test and are scraped once a minute. Each trouble fires its alert, and nothing else does;
// ordinary load fires none.
import assert from "node:assert/strict";
import { createSecureContext } from "node:tls";
import { fileURLToPath } from "node:url";
import { parseConfig } from "../../config/load.ts";
import { DnsResolver } from "../../dns/resolver.ts";
import { startLog } from "../../observe/logger.ts";
import { openMetrics, queueMetrics } from "../../server/metrics_parts.ts";
import { SmtpServer } from "../../smtp/server.ts";
import { syncTime } from "../../storage/file_system.ts";
import { Certificates } from "../../tls/certificates.ts";
import { serverUpgrade } from "../../tls/server_upgrade.ts";
import { FakeDns, type FakeDnsReply } from "../support/fake_dns.ts";
import { makeFolder } from "../support/peers/folder.ts";
import { freePort } from "../support/peers/ports.ts";
import { run } from "../support/peers/process.ts";
import { RecordingDelivery } from "../support/recording_delivery.ts";
import { HOUR, MINUTE, refuse, World } from "../support/scheduler_world.ts";
import { Scrapes } from "../support/scrapes.ts";
import { testWith } from "../support/requires.ts";
import { createTestAuthority } from "../support/test_authority.ts";
import { until } from "../support/until.ts";
import { WireClient } from "../support/wire_client.ts";

const RULES = fileURLToPath(new URL("../../contrib/alerts.yml", import.meta.url));
/** Connections at a time that the server takes. */
const FULL = 4;
const DAY = 24 * HOUR;

/** What DNS says, by how the name begins. */
function answerTo(question: string): FakeDnsReply {
  const [name = ""] = question.split(" ");
  if (name.startsWith("found")) return { answers: [{ name, type: "TXT", ttl: 60, data: ["x"] }] };
  return { rcode: name.startsWith("none") ? 3 : 2 };
}

/** A machine that does mail, and counts it. */
class Machine implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack();
  readonly #start = Date.now();
  readonly #metricsPort = freePort();
  #metrics: AsyncDisposable | undefined;
  #minutes = 0;

  private constructor(
    readonly world: World,
    readonly log: ReturnType<typeof startLog>,
    readonly dns: FakeDns,
    readonly authority: Awaited<ReturnType<typeof createTestAuthority>>,
    /** SMTP, and SMTP with TLS first and logins, none of which is right. */
    readonly ports: { readonly plain: number; readonly logins: number },
    readonly folder: { at(name: string): string },
    readonly resolver: DnsResolver,
  ) {}

  static async start(): Promise<Machine> {
    await using stack = new AsyncDisposableStack();
    const folder = stack.use(await makeFolder("alerts"));
    const log = stack.use(startLog({ level: "info", format: "json", file: "/dev/null", isTerminal: false }));
    const { logger } = log;
    const world = stack.use(new World({ logger }));
    const { clock, network } = world;
    for (const name of ["ok", "gone", "policy", "late", "slow", "home"]) {
      network.host(`mx.${name}.example`);
      network.domain(`${name}.example`, [`mx.${name}.example`]);
    }
    // Where notices to senders go.
    network.domain("example.org", ["mx.home.example"]);
    const dns = stack.use(await FakeDns.start());
    dns.zone = new Proxy<FakeDns["zone"]>({}, { get: (_zone, question) => answerTo(String(question)) });
    const authority = await createTestAuthority();
    const secureContext = createSecureContext(await authority.issue({ names: ["localhost"] }));
    const serve = (options: Partial<ConstructorParameters<typeof SmtpServer>[0]>, implicitTls: boolean) => {
      const server = new SmtpServer({
        ...{ hostname: "mx.here.example", delivery: new RecordingDelivery(), logger, clock },
        limits: { maxConnections: FULL },
        upgradeToTls: serverUpgrade({ certificates: { secureContext } }),
        ...options,
      });
      const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const serving = server.serve(listener, { implicitTls });
      stack.defer(async () => {
        const shutdown = server.shutdown({ grace: 0 });
        await clock.advance(MINUTE);
        await shutdown;
        await serving;
      });
      return listener.addr.port;
    };
    const wrong = { kind: "failure", reason: "credentials", why: "wrong password" } as const;
    const authenticator = {
      mechanisms: ["PLAIN"],
      start: () => ({ next: () => Promise.resolve(wrong) }),
    };
    const ports = { plain: serve({}, false), logins: serve({ authenticator }, true) };
    stack.use(queueMetrics(world.scheduler, () => clock.monotonic()));
    const resolver = new DnsResolver({ clock, servers: [dns.server], logger });
    const machine = new Machine(world, log, dns, authority, ports, folder, resolver);
    await machine.certificate(60 * DAY);
    await machine.open();
    machine.#stack.use(stack.move());
    return machine;
  }

  get #now(): number {
    return this.#start + this.world.clock.monotonic();
  }

  /** Starts the server's metrics, as a start of the server does. */
  async open(): Promise<void> {
    await this.close();
    const config = parseConfig(`hostname = "mx.here.example"
[metrics]
serve_out = "127.0.0.1:${this.#metricsPort}"
`);
    const { logger } = this.log;
    this.#metrics = await openMetrics(config, { server: "serve-out", logger, now: () => this.#now });
  }

  /** Ends it. */
  async close(): Promise<void> {
    await this.#metrics?.[Symbol.asyncDispose]();
    this.#metrics = undefined;
  }

  /** Takes a certificate that is good for so many milliseconds. */
  async certificate(ms: number): Promise<void> {
    const notAfter = new Date(this.#now + ms);
    const { cert, key } = await this.authority.issue({ names: ["mx.here.example"], notAfter });
    const paths = { cert: this.folder.at("cert.pem"), key: this.folder.at("key.pem") };
    await Deno.writeTextFile(paths.cert, cert);
    await Deno.writeTextFile(paths.key, key);
    const { logger } = this.log;
    const clock = this.world.clock;
    using _certificates = await Certificates.load({ ...paths, hostname: "mx.here.example", clock, logger });
  }

  /** A session of a client with serve-in. */
  async session(to: string): Promise<void> {
    using client = await WireClient.connect(this.ports.plain);
    await client.hear();
    for (const line of ["EHLO client.test", "MAIL FROM:<a@client.test>", `RCPT TO:<${to}@here.example>`]) {
      await client.say(line);
    }
    if (to === "alice") {
      await client.say("DATA");
      assert.match(await client.say("Subject: x\r\n\r\nx\r\n."), /^250 /);
    } else assert.match(await client.say("DATA"), /^503 /);
    await client.say("QUIT");
    await client.rest();
  }

  /** Tries passwords, all of which are wrong. */
  async guess(times: number): Promise<void> {
    const options = { hostname: "localhost", port: this.ports.logins, caCerts: [this.authority.cert] };
    using client = new WireClient(await Deno.connectTls(options));
    await client.hear();
    await client.say("EHLO client.test");
    for (let guess = 0; guess < times; guess++) {
      assert.match(await client.say(`AUTH PLAIN ${btoa("\0a\0b")}`), /^535 /);
    }
    await client.say("QUIT");
    await client.rest();
  }

  /** More clients than the server takes at a time. */
  async crowd(): Promise<void> {
    const clients: WireClient[] = [];
    for (let number = 0; number < FULL + 2; number++) {
      const client = await WireClient.connect(this.ports.plain);
      clients.push(client);
      assert.match(await client.hear(), number < FULL ? /^220 / : /^421 /);
    }
    for (const client of clients) client.close();
    await until(() => this.#isFree(), "the server to see its clients go");
  }

  async #isFree(): Promise<boolean> {
    using client = await WireClient.connect(this.ports.plain);
    return (await client.hear()).startsWith("220");
  }

  /** What an ordinary minute brings; `quiet`: nothing comes in. */
  async ordinary({ quiet = false } = {}): Promise<void> {
    const minute = this.#minutes++;
    const { world, log: { logger }, resolver } = this;
    if (quiet) return;
    await this.session("alice");
    await this.session("nobody");
    if (minute % 5 === 0) await this.guess(1);
    for (let number = 0; number < 3; number++) await world.send([`u${number}@ok.example`]);
    if (minute % 2 === 0) await world.send(["u@late.example"]);
    if (minute % 7 === 0) await world.send(["nobody@gone.example"]);
    if (minute % 25 === 0) await world.send(["u@policy.example"]);
    for (const kind of ["found", "found", "none", ...(minute % 10 === 0 ? ["fails"] : [])]) {
      await resolver.txt(`${kind}${minute}.example`);
    }
    for (let number = 0; number < 5; number++) syncTime.with("message").observe(0.004);
    if (minute % 30 === 0) syncTime.with("message").observe(2);
    logger.info("message.accepted");
    if (minute % 15 === 0) logger.warn("connection.refused");
  }

  /**
   * Goes on for so many minutes, each with what `trouble` does beside ordinary load, and scrapes once a minute.
   * @returns the alerts that fired at any time
   */
  async live(
    minutes: number,
    { trouble = () => {}, quiet = () => false, step = 1 }: {
      readonly trouble?: (minute: number) => void | Promise<void>;
      readonly quiet?: (minute: number) => boolean;
      /** Minutes from scrape to scrape. */
      readonly step?: number;
    } = {},
  ): Promise<string[]> {
    const scrapes = new Scrapes(this.#now / 1000);
    for (let minute = 0; minute <= minutes; minute += step) {
      await trouble(minute);
      await this.ordinary({ quiet: quiet(minute) });
      await this.world.clock.advance(step * MINUTE);
      const url = `http://127.0.0.1:${this.#metricsPort}/metrics`;
      scrapes.take(await fetch(url).then((response) => response.text(), () => undefined));
    }
    return await this.#fired(scrapes, step);
  }

  async #fired(scrapes: Scrapes, step: number): Promise<string[]> {
    const file = this.folder.at("test.json");
    // JSON is YAML. What is expected is wrong on purpose: promtool then says what there is.
    await Deno.writeTextFile(
      file,
      JSON.stringify({
        rule_files: [RULES],
        evaluation_interval: "1m",
        tests: [{
          interval: `${step}m`,
          input_series: scrapes.input,
          promql_expr_test: [{
            expr: `group by (alertname) (count_over_time(ALERTS{alertstate="firing"}[${
              scrapes.count * step
            }m]))`,
            eval_time: `${(scrapes.count - 1) * step}m`,
            exp_samples: [{ labels: '{alertname="none of ours"}', value: 1 }],
          }],
        }],
      }),
    );
    const { code, stdout, stderr } = await run("promtool", {
      args: ["test", "rules", file],
      within: 600_000,
    });
    assert.equal(code, 1, stdout + stderr);
    const [, got] = /\bgot:(.*)/.exec(stdout + stderr) ?? [];
    assert(got !== undefined, stdout + stderr);
    return [...got.matchAll(/alertname="(\w+)"/g)].map(([, name = ""]) => name).sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
    await this.#stack.disposeAsync();
  }
}

testWith(
  ["promtool"],
  "each trouble fires its alert and no other, and ordinary load fires none",
  async (t) => {
    await using machine = await Machine.start();
    const { world: { network }, log: { logger }, resolver } = machine;
    const host = (name: string) => network.hosts.get(`mx.${name}.example`) ?? assert.fail(name);
    host("gone").answer = () => refuse("550 5.1.1 nobody of that name");
    host("policy").answer = () => refuse("550 5.7.1 your address is on a list");
    // Greylisting, with the status that many give it: deferred at first, and no policy against this server.
    const seen = new Set<string>();
    host("late").answer = (_recipient, { id }) => {
      if (seen.has(id)) return "relay";
      seen.add(id);
      return refuse("450 4.7.1 greylisted");
    };
    const fires = (name: string, alerts: readonly string[], live: () => Promise<string[]>) =>
      t.step(
        `${name}: ${alerts.join(" and ") || "none"}`,
        async () => assert.deepEqual(await live(), alerts),
      );

    await fires("two hours of ordinary load", [], () => machine.live(120));
    await fires("a server that does not answer", ["MailappDown"], () =>
      machine.live(10, {
        trouble: (minute) => minute === 2 ? machine.close() : minute === 8 ? machine.open() : undefined,
      }));
    await fires("a server that ends again and again", ["MailappRestarts"], () =>
      machine.live(30, {
        trouble: (minute) => [3, 8, 13].includes(minute) ? machine.open() : undefined,
      }));
    await fires(
      "a damaged file of the queue",
      ["MailappErrors"],
      () =>
        machine.live(20, { trouble: (minute) => minute === 5 ? logger.error("queue.damaged") : undefined }),
    );
    await fires(
      "no space",
      ["MailappNoRoom"],
      () => machine.live(20, { trouble: () => logger.warn("storage.low_space") }),
    );
    await fires(
      "a filter that fails",
      ["MailappFilterFails"],
      () =>
        machine.live(20, { trouble: (minute) => minute === 5 ? logger.warn("filter.failed") : undefined }),
    );
    await fires(
      "passwords tried",
      ["MailappLoginsRefused"],
      () => machine.live(30, { trouble: () => machine.guess(9).then(() => machine.guess(9)) }),
    );
    await fires(
      "too many connections",
      ["MailappConnectionsRefused"],
      () => machine.live(20, { trouble: () => machine.crowd() }),
    );
    await fires("DNS that fails", ["MailappDnsFails"], () =>
      machine.live(45, {
        trouble: async (minute) => {
          for (let number = 0; number < 9; number++) await resolver.txt(`fails${number}.${minute}.example`);
        },
      }));
    await fires("a slow disk", ["MailappSlowDisk"], () =>
      machine.live(45, {
        trouble: () => {
          for (let number = 0; number < 4; number++) syncTime.with("message").observe(3);
        },
      }));
    await fires("a certificate that ends in ten days", ["MailappCertificateExpires"], async () => {
      await machine.certificate(10 * DAY);
      return await machine.live(5);
    });
    await machine.certificate(60 * DAY);
    await fires("a block list", ["MailappPolicyRefusals"], async () => {
      host("ok").answer = () => refuse("550 5.7.1 your address is on a list");
      return await machine.live(60);
    });
    host("ok").answer = () => "relay";
    await fires("a server that takes minutes for each message", ["MailappQueueGrows"], async () => {
      host("slow").delay = 10 * MINUTE;
      return await machine.live(90, {
        trouble: async () => {
          for (let number = 0; number < 12; number++) await machine.world.send(["u@slow.example"]);
        },
      });
    });
    host("slow").delay = 0;
    await machine.live(60, { step: 10 });
    const backlog = ["MailappMostDeferred", "MailappQueueGrows", "MailappQueueOld"];
    await fires("no way out for five hours", backlog, async () => {
      for (const one of network.hosts.values()) one.state = "refused";
      return await machine.live(5 * 60);
    });
    for (const one of network.hosts.values()) one.state = "up";
    await machine.live(10 * 60, { step: 10 });
    await fires(
      "no mail for nine hours, unlike yesterday",
      ["MailappNoMailIn"],
      () => machine.live(33 * 60, { step: 5, quiet: (minute) => minute > 24 * 60 }),
    );
  },
);
