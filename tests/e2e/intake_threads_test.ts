// serve-out with its dialogues in several threads: it behaves as with one, and a thread that dies takes nothing else with
// it.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { checkedMessage, submit } from "../faults/checked_message.ts";
import { configureServeOut, handOver, queueIdOf, Receiver, SpoolFiles } from "../faults/serve_out_setting.ts";
import { Dialogue } from "../support/dialogue.ts";
import { runMailapp, RunningMailapp, Workspace } from "../support/mailapp.ts";
import { freePort } from "../support/peers/ports.ts";
import { fromSource } from "../support/program.ts";

const MORTAL = fileURLToPath(new URL("../support/mortal_dialogues.ts", import.meta.url));
const THREADS = 4;

type Settings = Readonly<Record<string, unknown>>;

/** A serve-out with four threads, and the server that gets its mail. */
class Threaded implements AsyncDisposable {
  private constructor(
    readonly workspace: Workspace,
    readonly receiver: Receiver,
    readonly config: string,
    readonly server: RunningMailapp,
    readonly port: number,
  ) {}

  static async start(
    { program, settings = {}, metrics }: {
      readonly program?: readonly string[];
      readonly settings?: Settings;
      readonly metrics?: number;
    } = {},
  ): Promise<Threaded> {
    const workspace = await Workspace.create();
    const receiver = new Receiver();
    const config = await configureServeOut(workspace, receiver.port, { threads: THREADS, ...settings });
    if (metrics !== undefined) {
      await Deno.writeTextFile(config, `\n[metrics]\nserve_out = "127.0.0.1:${metrics}"\n`, { append: true });
    }
    const server = new RunningMailapp(["serve-out", "--config", config], program && { program });
    const { port } = await server.event("listener.ready");
    assert.equal((await server.event("server.ready"))["threads"], THREADS);
    return new Threaded(workspace, receiver, config, server, Number(port));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
    await this.receiver[Symbol.asyncDispose]();
    await this.workspace[Symbol.asyncDispose]();
  }
}

async function greeted(port: number): Promise<Dialogue> {
  const dialogue = await Dialogue.connect(port);
  assert.match(await dialogue.hear(), /^220 /);
  return dialogue;
}

async function send(dialogue: Dialogue, id: string): Promise<string> {
  await dialogue.say("EHLO client.test");
  return await submit(dialogue, checkedMessage(id, 2_000), { to: ["x@there.test"] });
}

Deno.test("serve-out with four threads relays from all of them, counts all of them, and ends on SIGTERM", async () => {
  const metrics = freePort();
  await using threaded = await Threaded.start({ metrics });
  const { server, receiver, port } = threaded;
  const ids = new Set<string>();
  for (let number = 0; number < 30; number++) {
    // The last ones are larger than what is kept in memory.
    const handed = await handOver(port, { octets: number < 27 ? 2_000 : 700_000 });
    assert.match(handed.reply, /^250 2\.0\.0 /);
    ids.add(handed.queueId);
    await receiver.has(handed.id);
    assert.deepEqual(receiver.copies(handed.id).map(({ digest }) => digest), [handed.digest]);
  }
  assert.equal(ids.size, 30);
  for (const id of ids) await server.event("queue.done", { where: { id } });
  assert.deepEqual(new SpoolFiles(threaded.workspace).ids(), []);
  const accepted = server.events.filter(({ event }) => event === "message.accepted");
  // The session ids begin with what each thread has drawn.
  const prefixes = new Set(accepted.map((event) => String(event["session"]).slice(0, 6)));
  assert.ok(prefixes.size > 1, [...prefixes].join());
  assert.equal(server.events.filter(({ event }) => event === "listener.ready").length, 1);
  const text = await (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text();
  assert.match(text, /^mailapp_smtp_connections_total\{result="accepted"\} 30$/m);
  assert.match(text, /^mailapp_log_events_total\{event="message.accepted",level="info"\} 30$/m);

  using idle = await greeted(port);
  server.signal("SIGTERM");
  assert.match(await idle.hear(), /^421 /);
  assert.equal(await server.ended(), 0);
  assert.equal(server.events.at(-1)?.event, "server.stopped");
  assert.deepEqual(server.other, []);
});

Deno.test("the queue command and a reload reach a serve-out with four threads", async () => {
  await using threaded = await Threaded.start({ settings: { retry: ["1h"] } });
  const { server, receiver, config, port } = threaded;
  receiver.atDot = () => Promise.resolve("refuse");
  const handed = await handOver(port);
  await server.event("attempt.deferred", { where: { id: handed.queueId } });
  const listed = await runMailapp(["queue", "list", "--json", "--config", config]);
  assert.deepEqual(JSON.parse(listed.stdout).map(({ id }: { id: string }) => id), [handed.queueId]);
  receiver.atDot = () => Promise.resolve("take");
  const retried = await runMailapp(["queue", "retry", handed.queueId, "--config", config]);
  assert.equal(retried.code, 0, retried.stderr);
  await receiver.has(handed.id);

  const text = await Deno.readTextFile(config);
  await Deno.writeTextFile(config, text.replace(/^retry = .*$/m, "$&\nmax_message_size = 12345"));
  server.signal("SIGHUP");
  await server.event("config.reloaded");
  for (let number = 0; number < 8; number++) {
    using dialogue = await greeted(port);
    assert.match(await dialogue.say("EHLO client.test"), /^250[- ]SIZE 12345\r?$/m);
  }
  assert.equal(await server.stop(), 0);
});

Deno.test("a reload gives the first key that mailapp dkim makes to all threads of serve-out", async () => {
  await using threaded = await Threaded.start({ settings: { retry: ["1h"] } });
  const { server, workspace, receiver, config, port } = threaded;
  receiver.atDot = () => Promise.resolve("refuse");
  const made = await runMailapp(["dkim", "new", "client.test", "--selector", "s", "--config", config]);
  assert.equal(made.code, 0, made.stderr);
  const key = workspace.file("state", "dkim", "client.test.s.pem");
  const table = `\n[dkim]\n"client.test" = { selector = "s", key = ${JSON.stringify(key)} }\n`;
  await Deno.writeTextFile(config, table, { append: true });
  server.signal("SIGHUP");
  await server.event("config.reloaded");
  const files = new SpoolFiles(workspace);
  const sessions = new Set<string>();
  for (let number = 0; number < 12; number++) {
    const { queueId } = await handOver(port);
    assert.match(files.text(files.message(queueId)), /^DKIM-Signature: .*d=client\.test;/ms);
    const { session } = await server.event("message.accepted", { where: { id: queueId } });
    sessions.add(String(session).slice(0, 6));
  }
  assert.ok(sessions.size > 1, [...sessions].join());
  assert.deepEqual(server.events.filter(({ event }) => event === "config.not_reloaded"), []);
  assert.equal(await server.stop(), 0);
});

Deno.test("the limit of connections to serve-out holds over all threads, and its port is taken", async () => {
  await using threaded = await Threaded.start({ settings: { max_connections: 6, port: freePort() } });
  await using open = new AsyncDisposableStack();
  const greetings: string[] = [];
  for (let number = 0; number < 12; number++) {
    const dialogue = await Dialogue.connect(threaded.port);
    open.defer(() => dialogue[Symbol.dispose]());
    greetings.push(await dialogue.hear());
  }
  assert.equal(greetings.filter((greeting) => greeting.startsWith("220 ")).length, 6);
  assert.equal(greetings.filter((greeting) => greeting.startsWith("421 ")).length, 6);
  await using workspace = await Workspace.create();
  const config = await configureServeOut(workspace, 1, { threads: 2, port: threaded.port });
  const { code, stderr } = await runMailapp(["serve-out", "--config", config]);
  assert.equal(code, 69, stderr);
  assert.match(stderr, /another program has that port/);
});

Deno.test("a thread of serve-out that dies takes its own connections with it, and is replaced", async () => {
  await using threaded = await Threaded.start({ program: fromSource(MORTAL) });
  const { server, workspace, port } = threaded;
  await using open = new AsyncDisposableStack();
  const dialogues: Dialogue[] = [];
  for (let number = 0; number < 40; number++) {
    const dialogue = await greeted(port);
    open.defer(() => dialogue[Symbol.dispose]());
    dialogues.push(dialogue);
  }
  await Deno.writeTextFile(workspace.file("state", "spool", "incoming", "die"), "");
  const { thread, connections, error } = await server.event("thread.died");
  assert.match(String(error), /told to die/);
  const replies = await Promise.all(
    dialogues.map((dialogue, number) => send(dialogue, `d${number}`).catch(() => "")),
  );
  const lost = replies.filter((reply) => reply === "").length;
  assert.equal(lost, connections);
  assert.ok(lost > 0 && lost < 40, String(lost));
  for (const reply of replies.filter((reply) => reply !== "")) {
    await server.event("queue.done", { where: { id: queueIdOf(reply) } });
  }
  await server.event("thread.started", { where: { thread } });
  assert.match((await handOver(port)).reply, /^250 /);
  assert.equal(await server.stop(), 0);
});

Deno.test("serve-out refuses several threads with a queue in PostgreSQL", async () => {
  await using workspace = await Workspace.create();
  const urlFile = workspace.file("queue.url");
  await Deno.writeTextFile(urlFile, "postgres://mailapp@127.0.0.1/mailapp\n");
  const config = await workspace.configure({
    "serve-out": { threads: 2, port: 0, listen: ["127.0.0.1"] },
    queue: { store: "postgres", url_file: urlFile },
  });
  for (const command of ["serve-out", "check-config"]) {
    const { code, stdout, stderr } = await runMailapp([command, "--config", config]);
    assert.equal(code, 78, stdout + stderr);
    assert.match(
      stdout + stderr,
      /serve-out\.threads = 2: must be 1 or "auto" with \[queue\] store = "postgres"/,
    );
  }
});
