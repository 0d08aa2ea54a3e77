// What SIGHUP brings to both servers: domains, routes, limits, the log; and what is said of the rest.
import assert from "node:assert/strict";
import { Dialogue } from "../support/dialogue.ts";
import { runMailapp, RunningMailapp, Workspace } from "../support/mailapp.ts";
import { silentLogger } from "../../base/log.ts";
import { Spool } from "../../relay/spool/spool.ts";
import { recipient } from "../support/queue_entry.ts";
import { add } from "../support/spool.ts";
import { freePort } from "../support/peers/ports.ts";
import { until } from "../support/peers/process.ts";

/** Both servers on one configuration, which changes. */
class Machine implements AsyncDisposable {
  readonly #ports = { serveIn: freePort(), serveOut: freePort(), nowhere: freePort() };

  private constructor(readonly workspace: Workspace) {}

  static async create(): Promise<Machine> {
    return new Machine(await Workspace.create());
  }

  get serveOutPort(): number {
    return this.#ports.serveOut;
  }

  get nowhere(): string {
    return `127.0.0.1:${this.#ports.nowhere}`;
  }

  get serveInAddress(): string {
    return `127.0.0.1:${this.#ports.serveIn}`;
  }

  configure({ serveIn = {}, serveOut = {}, ...tables }: {
    readonly serveIn?: Readonly<Record<string, unknown>>;
    readonly serveOut?: Readonly<Record<string, unknown>>;
    readonly [table: string]: Readonly<Record<string, unknown>> | undefined;
  } = {}): Promise<string> {
    return this.workspace.configure({
      ...tables as Record<string, Record<string, unknown>>,
      "serve-in": { port: this.#ports.serveIn, ...serveIn },
      "serve-out": {
        listen: ["127.0.0.1"],
        port: this.#ports.serveOut,
        min_free_space: 0,
        retry: ["1s"],
        ...serveOut,
      },
      dns: { servers: ["127.0.0.1:9"] },
    });
  }

  async start(server: "serve-in" | "serve-out"): Promise<RunningMailapp> {
    const running = new RunningMailapp([server, "--config", this.workspace.file("config.toml")]);
    await running.event("server.ready");
    return running;
  }

  async submit(recipient: string): Promise<void> {
    using dialogue = await Dialogue.connect(this.#ports.serveOut);
    await dialogue.hear();
    await dialogue.say("EHLO client.test");
    await dialogue.say("MAIL FROM:<alice@example.com>");
    assert.match(await dialogue.say(`RCPT TO:<${recipient}>`), /^250 /);
    await dialogue.say("DATA");
    assert.match(await dialogue.say("Subject: x\r\n\r\nHello\r\n."), /^250 /);
  }

  async stored(address: string, count: number): Promise<void> {
    const [user = "", domain = ""] = address.split("@");
    const directory = this.workspace.file("mail", domain, user, "new");
    await until(
      () => Array.fromAsync(Deno.readDir(directory)).then(({ length }) => length === count, () => false),
      { what: `${count} messages of ${address}` },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.workspace[Symbol.asyncDispose]();
  }
}

const BOTH = { domains: ["example.com", "new.test"] };

Deno.test("a domain that is added is local to both servers at once", async () => {
  await using machine = await Machine.create();
  await machine.configure();
  await using serveIn = await machine.start("serve-in");
  await using serveOut = await machine.start("serve-out");
  await machine.configure({ serveIn: BOTH });
  for (const server of [serveIn, serveOut]) {
    server.signal("SIGHUP");
    assert.deepEqual((await server.event("config.reloaded"))["needs_restart"], []);
  }
  await machine.submit("bob@new.test");
  await machine.stored("bob@new.test", 1);
  assert.deepEqual(serveOut.events.filter(({ event }) => event === "attempt.failed"), []);
  for (const server of [serveIn, serveOut]) assert.equal(await server.stop(), 0);
});

Deno.test("status tells of a serve-out that was not reloaded with serve-in", async () => {
  await using machine = await Machine.create();
  await machine.configure();
  await using serveIn = await machine.start("serve-in");
  await using serveOut = await machine.start("serve-out");
  const config = await machine.configure({ serveIn: BOTH });
  serveIn.signal("SIGHUP");
  await serveIn.event("config.reloaded");
  const told = async () => {
    const { stdout } = await runMailapp(["status", "--config", config]);
    return stdout.replace(/\s+/g, " ").includes(
      "it still uses an earlier configuration than the file. systemctl reload mailapp-out",
    );
  };
  assert.equal(await told(), true);
  serveOut.signal("SIGHUP");
  await serveOut.event("config.reloaded");
  assert.equal(await told(), false);
  for (const server of [serveIn, serveOut]) assert.equal(await server.stop(), 0);
});

Deno.test("mail for a domain that serve-in has yet to hear of waits, and what waits follows a new route", async () => {
  await using machine = await Machine.create();
  await machine.configure({ "serve-out.routes": { "other.test": machine.nowhere } });
  await using serveIn = await machine.start("serve-in");
  await using serveOut = await machine.start("serve-out");
  await machine.configure({ serveIn: BOTH, "serve-out.routes": { "other.test": machine.nowhere } });
  serveOut.signal("SIGHUP");
  await serveOut.event("config.reloaded");
  await machine.submit("bob@new.test");
  assert.equal((await serveOut.event("attempt.deferred"))["status"], "4.7.1");
  await machine.submit("bob@other.test");
  await serveOut.event("attempt.deferred", { where: { recipient: "bob@other.test" } });

  await machine.configure({
    serveIn: { domains: ["example.com", "new.test", "other.test"] },
    "serve-out.routes": {},
  });
  for (const server of [serveIn, serveOut]) server.signal("SIGHUP");
  for (const address of ["bob@new.test", "bob@other.test"]) await machine.stored(address, 1);
  for (const server of [serveIn, serveOut]) assert.equal(await server.stop(), 0);
});

Deno.test("the time from an unanswered dot to the next attempt is that of the new configuration", async () => {
  await using machine = await Machine.create();
  const config = await machine.configure({ serveOut: { retry: ["4h"] } });
  const at = Date.now();
  {
    // As a crash leaves it.
    const directory = machine.workspace.file("state", "spool");
    await using spool = await Spool.open({ directory, logger: silentLogger });
    const id = await add(spool, [recipient("bob@other.test")]);
    await spool.dotSent(id, { recipients: [0], host: "mx.other.test", address: "192.0.2.1", at });
  }
  await using serveOut = await machine.start("serve-out");
  const hours = async () => {
    const { stdout } = await runMailapp(["queue", "list", "--json", "--config", config]);
    const [{ recipients: [{ next_attempt_at }] }] = JSON.parse(stdout);
    return (Date.parse(next_attempt_at) - at) / 3_600_000;
  };
  assert.equal(await hours(), 4);
  await machine.configure({ serveOut: { retry: ["6h"] } });
  serveOut.signal("SIGHUP");
  await serveOut.event("config.reloaded");
  assert.equal(await hours(), 6);
  assert.equal(await serveOut.stop(), 0);
});

Deno.test("Maildirs of all users are there before their first message, and those of new users after a reload", async () => {
  await using machine = await Machine.create();
  await machine.configure();
  await using serveIn = await machine.start("serve-in");
  const made = async (user: string) => {
    await serveIn.event("maildir.made", { where: { mailbox: `${user}@example.com` } });
    for (const part of ["tmp", "new", "cur"]) {
      const { mode } = await Deno.lstat(machine.workspace.file("mail", "example.com", user, part));
      assert.equal((mode ?? 0) & 0o7777, 0o2770);
    }
  };
  for (const user of ["alice", "bob"]) await made(user);
  await machine.configure({ mailboxes: { users: ["alice", "bob", "carol"] } });
  serveIn.signal("SIGHUP");
  await made("carol");
  assert.equal(await serveIn.stop(), 0);
});

/** Octets that no disk has. */
const FULL = 2 ** 52;

Deno.test("limits and the level of the log change while both servers run", async () => {
  await using machine = await Machine.create();
  await machine.configure();
  await using serveIn = await machine.start("serve-in");
  await using serveOut = await machine.start("serve-out");
  const limits = { max_message_size: 12345, max_recipients: 7 };
  for (const server of [serveIn, serveOut]) {
    await machine.configure({ serveIn: limits, serveOut: limits, log: { level: "debug" } });
    server.signal("SIGHUP");
    assert.deepEqual((await server.event("config.reloaded"))["needs_restart"], []);
    const { port } = await server.event("listener.ready");
    using dialogue = await Dialogue.connect(Number(port));
    await dialogue.hear();
    const ehlo = await dialogue.say("EHLO client.test");
    assert.match(ehlo, /SIZE 12345\b/);
    assert.match(ehlo, /RCPTMAX=7\b/);
    await server.event("session.opened");
    assert.match(await dialogue.say("MAIL FROM:<alice@example.com>"), /^250 /);
    await dialogue.say("RSET");
    await machine.configure({ serveIn: { min_free_space: FULL }, serveOut: { min_free_space: FULL } });
    server.signal("SIGHUP");
    await server.event("config.reloaded", { after: 1 });
    assert.match(await dialogue.say("MAIL FROM:<alice@example.com>"), /^452 4\.3\.1 /);
    assert.equal(await server.stop(), 0);
  }
});

Deno.test("what only a restart brings is said with the unit's name, and the rest is taken over", async () => {
  await using machine = await Machine.create();
  await machine.configure();
  await using serveIn = await machine.start("serve-in");
  await using serveOut = await machine.start("serve-out");
  const password = machine.workspace.file("password");
  await Deno.writeTextFile(password, "secret\n", { mode: 0o600 });
  await machine.configure({
    serveIn: BOTH,
    "": { hostname: "mx2.example.com", data_dir: machine.workspace.file("state") },
    'serve-out.routes."a.test"': { host: "127.0.0.1", port: 9, user: "u", password_file: password },
  });
  for (
    const [server, settings, unit] of [
      [serveIn, ["hostname"], "mailapp-in"],
      [serveOut, ["hostname", "serve-out.routes"], "mailapp-out"],
    ] as const
  ) {
    server.signal("SIGHUP");
    const event = await server.event("config.needs_restart");
    assert.deepEqual([event["level"], event["settings"]], ["warn", settings]);
    assert.equal(event["action"], `systemctl restart ${unit}`);
  }
  await machine.submit("bob@new.test");
  await machine.stored("bob@new.test", 1);
  for (const server of [serveIn, serveOut]) assert.equal(await server.stop(), 0);
});

Deno.test("a configuration that is wrong changes nothing, and a log file that cannot be opened is told of", async () => {
  await using machine = await Machine.create();
  await Deno.mkdir(machine.workspace.file("log"));
  const file = machine.workspace.file("log", "out.log");
  await machine.configure({ log: { file } });
  const config = machine.workspace.file("config.toml");
  await using serveOut = new RunningMailapp(["serve-out", "--config", config]);
  const logged = async () =>
    (await Deno.readTextFile(file).catch(() => "")).trim().split("\n").filter(Boolean)
      .map((line) => JSON.parse(line) as { event: string; error?: string });
  const saw = (event: string) =>
    until(async () => (await logged()).some((line) => line.event === event), { what: event });
  await saw("server.ready");
  await machine.configure({
    log: { file },
    'dkim."example.com"': { selector: "a", key: "/nonexistent" },
  });
  serveOut.signal("SIGHUP");
  await saw("config.needs_restart");
  await machine.configure({
    log: { file },
    'dkim."example.com"': { selector: "a", key: machine.workspace.file("state", "x") },
  });
  serveOut.signal("SIGHUP");
  await saw("config.not_reloaded");
  assert.equal((await logged()).filter(({ event }) => event === "log.reopened").length, 2);
  await Deno.remove(file);
  await Deno.mkdir(file);
  await Deno.remove(file);
  await Deno.rename(machine.workspace.file("log"), machine.workspace.file("moved"));
  serveOut.signal("SIGHUP");
  await serveOut.event("log.failed");
  assert.equal(await serveOut.stop(), 0);
});

Deno.test("explain tells what the running serve-out goes by, and where the file says something else", async () => {
  await using machine = await Machine.create();
  const config = await machine.configure({ "serve-out.routes": { "a.test": machine.nowhere } });
  await using serveIn = await machine.start("serve-in");
  await using serveOut = await machine.start("serve-out");
  await machine.configure({ serveIn: { domains: ["example.com", "a.test"] } });
  const explain = async (...more: string[]) =>
    (await runMailapp(["explain", "alice@a.test", "--config", config, ...more])).stdout;
  const before = await explain();
  assert.match(before, new RegExp(`127\\.0\\.0\\.1 port ${machine.nowhere.split(":")[1]}`));
  assert.match(before, /serve-out still uses an earlier configuration .*systemctl reload mailapp-out/);
  assert.match(before, /serve-in refuses it now: 550 5\.7\.1 .*systemctl reload mailapp-in/s);
  for (const server of [serveIn, serveOut]) {
    server.signal("SIGHUP");
    await server.event("config.reloaded");
  }
  const after = await explain();
  assert.match(after, /serve-out sends it to serve-in of this machine/);
  assert.doesNotMatch(after, /earlier configuration|refuses/);
  const json = JSON.parse(await explain("--json")) as { targets: { via: string }[]; outdated?: boolean };
  assert.equal(json.targets[0]?.via, "local");
  // Nothing is sent at once to a mailbox that does not exist.
  for (
    const [local, ends] of [["alice", "nothing waits for a.test: a message is sent at once"], [
      "zoe",
      "nothing waits for a.test",
    ]]
  ) {
    const { stdout } = await runMailapp(["explain", `${local}@a.test`, "--config", config]);
    assert.ok(stdout.includes(`\n  ${ends}\n`), stdout);
  }
  assert.equal(await serveOut.stop(), 0);
  assert.equal(await serveIn.stop(), 0);
});
