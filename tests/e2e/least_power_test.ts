// What each server may touch once it runs: attempts that must be denied, made inside the running servers, which then do
// all their work all the same.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { join } from "@std/path";
import { createTestAuthority } from "../support/test_authority.ts";
import { SubmissionMachine } from "../support/submission.ts";
import { Dialogue } from "../support/dialogue.ts";
import { handOver } from "../faults/serve_out_setting.ts";
import { RunningMailapp, Workspace } from "../support/mailapp.ts";
import { fromSource } from "../support/program.ts";
import { freePort } from "../support/peers/ports.ts";
import { HOST_PROGRAMS, makeHosts } from "../support/hosts.ts";
import { runOk, until } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";

const support = (name: string) => fileURLToPath(new URL(`../support/${name}`, import.meta.url));

/** Both servers on one configuration, with a certificate as certbot lays it out, and what is done to them. */
class Attacked implements AsyncDisposable {
  readonly #authority = createTestAuthority();
  readonly #ports = { serveIn: freePort(), serveOut: freePort() };

  constructor(readonly workspace: Workspace, readonly program: readonly string[]) {}

  async configure(
    changes: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {},
  ): Promise<string> {
    const live = (name: string) => this.workspace.file("letsencrypt", "live", "mx.example.com", name);
    return await this.workspace.configure({
      tls: { cert: live("fullchain.pem"), key: live("privkey.pem") },
      "serve-in": { port: this.#ports.serveIn, tls_port: freePort() },
      "serve-out": { listen: ["127.0.0.1"], port: this.#ports.serveOut, min_free_space: 0, retry: ["1s"] },
      dns: { servers: ["127.0.0.1:7"] },
      ...changes,
    });
  }

  /** Issues a certificate and swaps the links to it, as certbot does. */
  async renew(number: number): Promise<void> {
    const leaf = await (await this.#authority).issue({ names: ["mx.example.com"] });
    const directory = (name: string) => this.workspace.file("letsencrypt", name, "mx.example.com");
    for (const name of ["live", "archive"]) await Deno.mkdir(directory(name), { recursive: true });
    for (const [name, text] of [["fullchain", leaf.cert], ["privkey", leaf.key]] as const) {
      await Deno.writeTextFile(`${directory("archive")}/${name}${number}.pem`, text);
      const link = `${directory("live")}/${name}.pem`;
      await Deno.remove(link).catch(() => {});
      await Deno.symlink(`../../archive/mx.example.com/${name}${number}.pem`, link);
    }
  }

  start(server: "serve-in" | "serve-out", config: string): RunningMailapp {
    const { program } = this;
    const env = { XDG_CACHE_HOME: this.workspace.file("cache"), MAILAPP_CACHE: this.workspace.file("cache") };
    return new RunningMailapp([server, "--config", config], { program, env, mayBeDenied: true });
  }

  /** Hands serve-out a message. */
  async submit(...recipients: readonly string[]): Promise<void> {
    using dialogue = await Dialogue.connect(this.#ports.serveOut);
    await dialogue.hear();
    await dialogue.say("EHLO client.test");
    await dialogue.say("MAIL FROM:<bob@example.com>");
    for (const recipient of recipients) assert.match(await dialogue.say(`RCPT TO:<${recipient}>`), /^250 /);
    await dialogue.say("DATA");
    assert.match(await dialogue.say("Subject: x\r\n\r\nHello\r\n."), /^250 /);
  }

  async stored(user: string, count: number): Promise<void> {
    await until(async () => (await this.workspace.stored(user)).length === count, {
      what: `${count} messages of ${user}`,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.workspace[Symbol.asyncDispose]();
  }
}

/** Waits until an attack is over; fails unless everything was denied. */
async function assertDenied(server: RunningMailapp, { attack, least }: { attack: string; least: number }) {
  await server.event(`${attack}.over`);
  const results = server.events.filter(({ event }) => event === attack);
  assert.deepEqual(results.filter(({ result }) => result !== "denied"), []);
  assert.ok(results.length >= least, `${results.length} attempts`);
}

async function test(program: readonly string[]): Promise<void> {
  await using attacked = new Attacked(await Workspace.create(), program);
  await attacked.renew(1);
  const config = await attacked.configure();

  await using serveOut = attacked.start("serve-out", config);
  await assertDenied(serveOut, { attack: "attack.server", least: 41 });
  serveOut.signal("SIGUSR2");
  await assertDenied(serveOut, { attack: "attack.main", least: 35 });
  // Its host is not there yet.
  await serveOut.event("server.ready");
  await attacked.submit("alice@example.com", "nobody@example.com");
  await serveOut.event("attempt.deferred");

  await using serveIn = attacked.start("serve-in", config);
  await assertDenied(serveIn, { attack: "attack.server", least: 55 });
  serveIn.signal("SIGUSR2");
  await assertDenied(serveIn, { attack: "attack.main", least: 35 });
  await attacked.stored("alice", 1);
  // What is refused comes back to the sender.
  await attacked.stored("bob", 1);

  const first = await serveIn.event("tls.certificate.loaded");
  await attacked.renew(2);
  serveIn.signal("SIGHUP");
  const second = await serveIn.event("tls.certificate.loaded", { after: 1 });
  assert.notEqual(second["sha256"], first["sha256"]);
  await serveIn.event("config.reloaded");
  await attacked.configure({
    mailboxes: { path: attacked.workspace.file("elsewhere", "{user}"), users: ["alice", "bob"] },
  });
  serveIn.signal("SIGHUP");
  const beyond = await serveIn.event("config.needs_restart");
  assert.ok((beyond["settings"] as string[]).includes("mailboxes"));
  assert.deepEqual(beyond["needs"], [attacked.workspace.file("elsewhere", "{user}")]);
  await attacked.configure({ mailboxes: { users: ["alice", "bob", "carol"] } });
  serveIn.signal("SIGHUP");
  await serveIn.event("config.reloaded", { after: 2 });
  serveOut.signal("SIGHUP");
  await serveOut.event("config.reloaded");
  await attacked.submit("carol@example.com");
  await attacked.stored("carol", 1);

  assert.equal(await serveOut.stop(), 0);
  serveIn.signal("SIGUSR1");
  assert.equal(await serveIn.ended(), 70, "the signal for Deno's debugger");
}

/** A serve-in whose thread is started again, as the machine gets another address. */
async function testFollowing(program: readonly string[]): Promise<void> {
  await using workspace = await Workspace.create();
  await using hosts = await makeHosts();
  const config = await workspace.configure({ "serve-in": { listen: "auto", port: 25 } });
  const env = { MAILAPP_CACHE: workspace.file("cache") };
  await using serveIn = new RunningMailapp(["serve-in", "--config", config], {
    mayBeDenied: true,
    program,
    env,
    through: hosts.server,
  });
  await assertDenied(serveIn, { attack: "attack.server", least: 55 });
  serveIn.signal("SIGUSR2");
  await assertDenied(serveIn, { attack: "attack.main", least: 35 });
  const [ip = "", ...rest] = [
    ...hosts.server,
    "ip",
    "address",
    "add",
    "198.51.100.77/24",
    "dev",
    hosts.device,
  ];
  await runOk(ip, { args: rest });
  await serveIn.event("listener.ready", { where: { address: "198.51.100.77" } });
  await serveIn.event("attack.server.over", { after: 1 });
  const results = serveIn.events.filter(({ event }) =>
    event.startsWith("attack.") && !event.endsWith(".over")
  );
  assert.deepEqual(results.filter(({ result }) => result !== "denied"), []);
  assert.ok(results.length >= 2 * 55 + 35);
  assert.equal(await serveIn.stop(), 0);
}

/** serve-in with threads for its dialogues, which may do less than its own. */
async function testThreads(program: readonly string[]): Promise<void> {
  await using workspace = await Workspace.create();
  const config = await workspace.configure({ "serve-in": { threads: 2 } });
  const env = { MAILAPP_CACHE: workspace.file("cache"), XDG_CACHE_HOME: workspace.file("cache") };
  await using serveIn = new RunningMailapp(["serve-in", "--config", config], {
    program,
    env,
    mayBeDenied: true,
  });
  await assertDenied(serveIn, { attack: "attack.server", least: 55 });
  await assertDenied(serveIn, { attack: "attack.dialogues", least: 56 });
  await serveIn.event("server.ready");
  const { port } = await serveIn.event("listener.ready");
  using dialogue = await Dialogue.connect(Number(port));
  await dialogue.hear();
  for (
    const line of ["EHLO client.test", "MAIL FROM:<a@client.test>", "RCPT TO:<alice@example.com>", "DATA"]
  ) {
    await dialogue.say(line);
  }
  assert.match(await dialogue.say("Subject: x\r\n\r\nHello\r\n."), /^250 /);
  assert.equal(await serveIn.stop(), 0);
}

/** serve-out with threads that take mail, which may do less than its own. */
async function testIntake(program: readonly string[]): Promise<void> {
  await using workspace = await Workspace.create();
  const config = await workspace.configure({
    "serve-out": { listen: ["127.0.0.1"], port: 0, min_free_space: 0, threads: 2 },
    "serve-out.routes": { "*": "127.0.0.1:1" },
  });
  const env = { MAILAPP_CACHE: workspace.file("cache"), XDG_CACHE_HOME: workspace.file("cache") };
  await using serveOut = new RunningMailapp(["serve-out", "--config", config], {
    program,
    env,
    mayBeDenied: true,
  });
  await assertDenied(serveOut, { attack: "attack.dialogues", least: 55 });
  const { port } = await serveOut.event("listener.ready");
  for (let count = 0; count < 4; count++) assert.match((await handOver(Number(port))).reply, /^250 /);
  assert.deepEqual(serveOut.events.filter(({ level }) => level === "error"), []);
  assert.equal(await serveOut.stop(), 0);
}

/** serve-submit, which takes and hands on mail all the while, before and after a reload. */
async function testSubmission(program: readonly string[]): Promise<void> {
  await using machine = await SubmissionMachine.create({ run: { program, mayBeDenied: true } });
  await using serveIn = await machine.start("serve-in");
  await using _serveOut = await machine.start("serve-out");
  await using serveSubmit = await machine.start("serve-submit");
  await assertDenied(serveSubmit, { attack: "attack.server", least: 60 });
  serveSubmit.signal("SIGUSR2");
  await assertDenied(serveSubmit, { attack: "attack.main", least: 35 });
  for (const count of [0, 1]) {
    using client = await machine.login();
    await client.say("MAIL FROM:<alice@example.com>");
    await client.say("RCPT TO:<bob@example.com>");
    await client.say("DATA");
    assert.match(await client.say("From: alice@example.com\r\n\r\nHello\r\n."), /^250 /);
    await serveIn.event("message.delivered", { after: count });
    if (count > 0) break;
    serveSubmit.signal("SIGHUP");
    await serveSubmit.event("config.reloaded");
  }
  const failed = serveSubmit.events.filter(({ level }) => level === "error");
  assert.deepEqual(failed, []);
  assert.equal(await serveSubmit.stop(), 0);
  // What logins have sent is kept.
  const kept = await Deno.readTextFile(machine.workspace.file("state", "submit", "limits.json"));
  assert.deepEqual(Object.keys(JSON.parse(kept)), ["alice@example.com"]);
}

/** The program with an attacker inside, as it is shipped. */
async function buildAttacked(out: string): Promise<readonly string[]> {
  // The workflow of a public forge has a base for deno compile.
  const form = Deno.env.get("MAILAPP_FORM") === "compiled" ? [] : ["--portable"];
  const build = ["build/build.ts", ...form, "--entry", support("attacked_server.ts"), "--out", out];
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--frozen", ...build],
    cwd: fileURLToPath(new URL("../..", import.meta.url)),
  }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
  return [join(out, "mailapp")];
}

/** Tests what is built, and removes it. */
async function testBuilt(test: (program: readonly string[]) => Promise<void>): Promise<void> {
  const out = await Deno.makeTempDir({ prefix: "mailapp-test-" });
  try {
    await test(await buildAttacked(out));
  } finally {
    await Deno.remove(out, { recursive: true });
  }
}

const SOURCE = fromSource(support("attacked_server.ts"));

Deno.test("neither server can do what it need not, and both still reload, deliver, retry and bounce", async () => {
  await test(SOURCE);
});

Deno.test("nor can serve-submit, and it still logs people in, hands on their mail, reloads and remembers", async () => {
  await testSubmission(SOURCE);
});

Deno.test("nor can the threads of serve-in's dialogues, which have less than its own", async () => {
  await testThreads(SOURCE);
});

Deno.test("nor can the threads of serve-out that take mail, which have less than its own", async () => {
  await testIntake(SOURCE);
});

testWith(HOST_PROGRAMS, "nor can a serve-in that follows the machine's addresses", async () => {
  await testFollowing(SOURCE);
});

Deno.test("the same holds in the built file", async () => {
  await testBuilt(async (program) => {
    await test(program);
    await testThreads(program);
    await testIntake(program);
    await testSubmission(program);
  });
});

testWith(HOST_PROGRAMS, "the same holds in the built file that follows the machine's addresses", async () => {
  await testBuilt(testFollowing);
});
