import assert from "node:assert/strict";
import { join } from "@std/path";
import { systemNetwork } from "../net/interfaces.ts";
import { silentLogger } from "../base/log.ts";
import type { Delivery } from "../smtp/delivery.ts";
import { reply } from "../smtp/reply.ts";
import { SmtpServer } from "../smtp/server.ts";
import { freePort, untilListening } from "../tests/support/peers/ports.ts";
import { until } from "../tests/support/peers/process.ts";
import { runInProcess } from "../tests/support/in_process.ts";
import type { ServerIo } from "../server/io.ts";
import { runServeOut } from "../server/serve_out_server.ts";

interface Taken {
  readonly from: string;
  readonly to: readonly string[];
  readonly text: string;
}

/** The world outside: one host that takes everything but `no@…`, and `later@…` only the second time. */
class Outside implements AsyncDisposable {
  readonly taken: Taken[] = [];
  readonly port = freePort();
  #server: SmtpServer | undefined;
  #serving: Promise<void> = Promise.resolve();
  readonly #seen = new Set<string>();

  up(): void {
    const delivery: Delivery = {
      checkRecipient: ({ forwardPath: { text, localPart } }) => {
        if (localPart === "no") return { accepted: false, reply: reply(550, "5.1.1", "unknown") };
        if (localPart !== "later" || this.#seen.has(text)) return { accepted: true };
        this.#seen.add(text);
        return { accepted: false, reply: reply(450, "4.2.0", "greylisted") };
      },
      begin: ({ reversePath, recipients }) => {
        let text = "";
        return {
          id: "x",
          write: (chunk) => void (text += new TextDecoder().decode(chunk)),
          commit: () => {
            const to = recipients.map(({ forwardPath }) => forwardPath.text);
            this.taken.push({ from: reversePath?.text ?? "", to, text });
            return Promise.resolve();
          },
          [Symbol.asyncDispose]: () => Promise.resolve(),
        };
      },
    };
    this.#server = new SmtpServer({ hostname: "mx.a.test", delivery, logger: silentLogger });
    this.#serving = this.#server.serve(Deno.listen({ hostname: "127.0.0.1", port: this.port }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.shutdown({ grace: 0 });
    await this.#serving;
  }
}

/** Of an element of `queue list --json`. */
interface ListedEntry {
  readonly id: string;
  readonly recipients: readonly {
    readonly attempt_count: number;
    readonly attempts: readonly { readonly error?: string }[];
  }[];
}

/** A serve-out in this process, with its commands. */
class World implements AsyncDisposable {
  readonly outside = new Outside();
  readonly port = freePort();
  readonly directory = Deno.makeTempDirSync();
  readonly config = join(this.directory, "config.toml");
  readonly logFile = join(this.directory, "log");
  #stop: () => void = () => {};
  #running: Promise<number> = Promise.resolve(0);

  constructor(settings = "") {
    Deno.writeTextFileSync(
      this.config,
      `hostname = "out.example.test"
data_dir = ${JSON.stringify(join(this.directory, "data"))}
[log]
format = "json"
file = ${JSON.stringify(this.logFile)}
[dns]
servers = ["127.0.0.1:9"]
[serve-out]
listen = ["127.0.0.1"]
port = ${this.port}
qualify_domain = "a.test"
min_free_space = "1MiB"
retry = ["1s"]
${settings}
[serve-out.routes]
"a.test" = "127.0.0.1:${this.outside.port}"
`,
    );
  }

  async start(): Promise<void> {
    this.#running = this.#run(["serve-out"], {
      onSignal: (signal, callback) => {
        if (signal === "SIGTERM") this.#stop = callback;
      },
    }).then(({ code, err }) => {
      assert.equal(code, 0, err);
      return code;
    });
    await untilListening(this.port);
  }

  async stop(): Promise<void> {
    this.#stop();
    await this.#running;
  }

  mailapp(...args: string[]) {
    return this.#run(args);
  }

  async queue(): Promise<ListedEntry[]> {
    return JSON.parse((await this.#run(["queue", "list", "--json"])).out) as ListedEntry[];
  }

  log(): Record<string, unknown>[] {
    const text = Deno.readTextFileSync(this.logFile);
    return text.trim().split("\n").map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  /** Hands a message to serve-out. */
  async submit(...recipients: string[]): Promise<void> {
    const conn = await Deno.connect({ hostname: "127.0.0.1", port: this.port });
    const commands = [
      "EHLO client.test",
      "MAIL FROM:<sender>",
      ...recipients.map((recipient) => `RCPT TO:<${recipient}>`),
      "DATA",
      "Subject: x\r\n\r\nHi\r\n.",
      "QUIT",
    ];
    await conn.write(new TextEncoder().encode(commands.map((command) => `${command}\r\n`).join("")));
    const answers = await new Response(conn.readable).text();
    assert.match(answers, /\r\n250 2\.0\.0 [^]*\r\n221 /);
  }

  #run(args: string[], given: Partial<ServerIo> = {}) {
    return runInProcess([...args, "--config", this.config], {
      confine: (start, signals) =>
        runServeOut(start, { signals, network: systemNetwork, entry: "", onAddresses() {} }),
      ...given,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await this.outside[Symbol.asyncDispose]();
    await Deno.remove(this.directory, { recursive: true });
  }
}

Deno.test("mailapp serve-out relays at once, tries again, and tells the sender of what failed", async () => {
  await using world = new World();
  const { outside } = world;
  outside.up();
  await world.start();
  await world.submit("u@a.test", "later@a.test", "no@a.test");
  await until(() => outside.taken.length === 3, { what: "the host to take mail" });
  assert.deepEqual(outside.taken.map(({ from, to }) => [from, to]).sort(), [
    ["", ["sender@a.test"]],
    ["sender@a.test", ["later@a.test"]],
    ["sender@a.test", ["u@a.test"]],
  ]);
  const notice = outside.taken.find(({ from }) => from === "")?.text ?? "";
  assert.match(notice, /no@a\.test/);
  assert.match(notice, /550 5\.1\.1 unknown/);
  await until(async () => (await world.queue()).length === 0, { what: "an empty queue" });
  const events = world.log().map(({ event }) => event);
  for (const event of ["attempt.relayed", "attempt.deferred", "attempt.failed", "dsn.queued", "queue.done"]) {
    assert(events.includes(event), event);
  }
});

Deno.test("mailapp serve-out keeps mail for a host that is down, over a restart, until it is up", async () => {
  await using world = new World();
  const { outside } = world;
  await world.start();
  await world.submit("u@a.test");
  await until(async () => (await world.queue())[0]?.recipients[0]?.attempts[0] !== undefined, {
    what: "the first attempt",
  });
  const [entry] = await world.queue();
  assert.match(entry?.recipients[0]?.attempts[0]?.error ?? "", /refused/);
  const isExplained = async () => {
    const { out } = await world.mailapp("explain", "u@a.test");
    return /for a\.test: .*1 waiting, next try in/.test(out);
  };
  await until(isExplained, { what: "the message to wait" });
  await world.stop();
  assert.equal((await world.queue()).length, 1);
  await world.start();
  outside.up();
  await until(() => outside.taken.length === 1, { what: "the host to take mail" });
  await until(async () => (await world.queue()).length === 0, { what: "an empty queue" });
});

Deno.test("mailapp queue hold, retry and release manage a running serve-out", async () => {
  await using world = new World(`expire_after = "1d"`);
  const { outside } = world;
  await world.start();
  await world.submit("u@a.test");
  await until(async () => (await world.queue())[0]?.recipients[0]?.attempt_count === 1, {
    what: "the first attempt",
  });
  const [{ id } = assert.fail()] = await world.queue();
  assert.equal((await world.mailapp("queue", "hold", id)).code, 0);
  outside.up();
  assert.match((await world.mailapp("queue", "retry", id)).out, /held; queue release sends it/);
  assert.equal(outside.taken.length, 0);
  assert.equal((await world.mailapp("queue", "release", "--domain", "a.test")).code, 0);
  await until(() => outside.taken.length === 1, { what: "the host to take mail" });
});

Deno.test("mailapp send-test shows the whole dialogue, past the queue", async () => {
  await using world = new World();
  world.outside.up();
  const { code, out } = await world.mailapp("send-test", "u@a.test", "--from", "me@example.org");
  assert.equal(code, 0);
  assert.match(
    out,
    /S: 220 mx\.a\.test[^]*C: RCPT TO:<u@a\.test>[^]*S: 250 2\.0\.0[^]*spf=pass smtp\.mailfrom=example\.org/,
  );
  assert.equal(world.outside.taken[0]?.from, "me@example.org");
  const refused = await world.mailapp("send-test", "no@a.test");
  assert.equal(refused.code, 69);
  assert.match(refused.err, /550 5\.1\.1 unknown/);
});

Deno.test("mailapp explain tells a route, and JSON for programs", async () => {
  await using world = new World();
  const { code, out } = await world.mailapp("explain", "u@a.test", "--json");
  assert.equal(code, 0);
  const { domain, targets, outcome } = JSON.parse(out) as Record<string, unknown>;
  assert.equal(domain, "a.test");
  assert.deepEqual(outcome, { kind: "targets" });
  assert.deepEqual(targets, [{
    host: "127.0.0.1",
    address: "127.0.0.1",
    family: 4,
    port: world.outside.port,
    via: "route",
    authenticated: false,
    tls_policy: "prefer",
  }]);
  assert.equal((await world.mailapp("explain", "u@@a.test")).code, 65);
});

Deno.test("mailapp serve-out refuses a second one on its spool, and anything but loopback", async () => {
  await using world = new World();
  await world.start();
  const second = await world.mailapp("serve-out");
  assert.equal(second.code, 69);
  assert.match(second.err, new RegExp(`process ${Deno.pid} has the spool`));
  Deno.writeTextFileSync(
    world.config,
    `hostname = "out.example.test"\n[serve-out]\nlisten = ["192.0.2.1"]\n`,
  );
  const open = await world.mailapp("serve-out");
  assert.equal(open.code, 78);
  assert.match(open.err, /loopback/);
});
