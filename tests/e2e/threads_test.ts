// serve-in with its dialogues in several threads: it behaves as with one, and a thread that dies takes nothing else with it.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { Dialogue } from "../support/dialogue.ts";
import { RunningMailapp, Workspace } from "../support/mailapp.ts";
import { until } from "../support/peers/process.ts";
import { freePort } from "../support/peers/ports.ts";
import { fromSource } from "../support/program.ts";
import { runMailapp } from "../support/mailapp.ts";

const MORTAL = fileURLToPath(new URL("../support/mortal_dialogues.ts", import.meta.url));
const THREADS = 4;

type Tables = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** A serve-in with four threads. */
class Threaded implements AsyncDisposable {
  private constructor(
    readonly workspace: Workspace,
    readonly server: RunningMailapp,
    readonly port: number,
  ) {}

  static async start(
    { program, tables = {} }: { readonly program?: readonly string[]; readonly tables?: Tables } = {},
  ): Promise<Threaded> {
    const workspace = await Workspace.create();
    const config = await workspace.configure({
      ...tables,
      "serve-in": { threads: THREADS, ...tables["serve-in"] },
    });
    const server = new RunningMailapp(["serve-in", "--config", config], program && { program });
    const { port } = await server.event("listener.ready");
    assert.equal((await server.event("server.ready"))["threads"], THREADS);
    return new Threaded(workspace, server, Number(port));
  }

  /** Begins a dialogue. */
  async greeted(): Promise<{ readonly dialogue: Dialogue; readonly greeting: string }> {
    const dialogue = await Dialogue.connect(this.port);
    return { dialogue, greeting: await dialogue.hear() };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
    await this.workspace[Symbol.asyncDispose]();
  }
}

async function send(dialogue: Dialogue): Promise<string> {
  await dialogue.say("EHLO client.test");
  await dialogue.say("MAIL FROM:<a@client.test>");
  assert.match(await dialogue.say("RCPT TO:<alice@example.com>"), /^250 /);
  await dialogue.say("DATA");
  return await dialogue.say("Subject: x\r\n\r\nHello\r\n.");
}

Deno.test("serve-in with four threads spreads connections, counts all of them, and ends on SIGTERM", async () => {
  const metrics = freePort();
  await using threaded = await Threaded.start({ tables: { metrics: { serve_in: `127.0.0.1:${metrics}` } } });
  const { server, workspace } = threaded;
  const ids = new Set<string>();
  for (let number = 0; number < 30; number++) {
    const { dialogue } = await threaded.greeted();
    using _ = dialogue;
    ids.add(await send(dialogue));
    await dialogue.say("QUIT");
  }
  assert.equal(ids.size, 30);
  assert.equal((await workspace.stored("alice")).length, 30);
  // The session ids begin with what each thread has drawn.
  const prefixes = new Set(
    server.events.filter(({ event }) => event === "message.accepted").map((event) =>
      String(event["session"]).slice(0, 6)
    ),
  );
  assert.ok(prefixes.size > 1, [...prefixes].join());
  assert.equal(server.events.filter(({ event }) => event === "listener.ready").length, 1);
  const text = await (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text();
  assert.match(text, /^mailapp_smtp_connections_total\{result="accepted"\} 30$/m);
  assert.match(text, /^mailapp_log_events_total\{event="message.accepted",level="info"\} 30$/m);
  assert.match(text, /^mailapp_smtp_open_connections 0$/m);

  const { dialogue } = await threaded.greeted();
  using idle = dialogue;
  server.signal("SIGTERM");
  assert.match(await idle.hear(), /^421 /);
  assert.equal(await server.ended(), 0);
  assert.equal(server.events.at(-1)?.event, "server.stopped");
  assert.deepEqual(server.other, []);
});

Deno.test("the limit of an address holds over all threads, and so does that of all connections", async () => {
  await using threaded = await Threaded.start({
    tables: { "serve-in": { max_connections_per_ip: 5, max_connections: 6 } },
  });
  await using open = new AsyncDisposableStack();
  const greetings: string[] = [];
  for (let number = 0; number < 12; number++) {
    const { dialogue, greeting } = await threaded.greeted();
    open.defer(() => dialogue[Symbol.dispose]());
    greetings.push(greeting);
  }
  assert.equal(greetings.filter((greeting) => greeting.startsWith("220 ")).length, 5);
  assert.equal(greetings.filter((greeting) => greeting.startsWith("421 4.7.0 ")).length, 7);
  await open.disposeAsync();
  await until(async () => {
    const { dialogue, greeting } = await threaded.greeted();
    dialogue[Symbol.dispose]();
    return greeting.startsWith("220 ");
  }, { what: "a free place" });
});

Deno.test("a second serve-in finds the port of threads taken", async () => {
  await using threaded = await Threaded.start({ tables: { "serve-in": { port: freePort() } } });
  const config = threaded.workspace.file("config.toml");
  const { code, stderr } = await runMailapp(["serve-in", "--config", config]);
  assert.equal(code, 69, stderr);
  assert.match(stderr, /another program has that port/);
});

Deno.test("a thread that dies takes its own connections with it, and is replaced", async () => {
  await using threaded = await Threaded.start({
    program: fromSource(MORTAL),
    tables: { "serve-in": { max_connections_per_ip: 40 } },
  });
  const { server, workspace } = threaded;
  await using open = new AsyncDisposableStack();
  const dialogues: Dialogue[] = [];
  for (let number = 0; number < 40; number++) {
    const { dialogue, greeting } = await threaded.greeted();
    open.defer(() => dialogue[Symbol.dispose]());
    assert.match(greeting, /^220 /);
    dialogues.push(dialogue);
  }
  await Deno.writeTextFile(workspace.file("state", "incoming", "die"), "");
  const { thread, connections, error } = await server.event("thread.died");
  assert.match(String(error), /told to die/);
  const replies = await Promise.all(
    dialogues.map((dialogue) => send(dialogue).catch(() => "")),
  );
  const lost = replies.filter((reply) => reply === "").length;
  assert.equal(lost, connections);
  assert.ok(lost > 0 && lost < 40, String(lost));
  assert.equal((await workspace.stored("alice")).length, 40 - lost);
  await server.event("thread.started", { where: { thread } });
  // Their places are free again.
  for (let number = 0; number < lost; number++) {
    const { dialogue, greeting } = await threaded.greeted();
    open.defer(() => dialogue[Symbol.dispose]());
    assert.match(greeting, /^220 /);
    assert.match(await send(dialogue), /^250 /);
  }
  const { dialogue, greeting } = await threaded.greeted();
  dialogue[Symbol.dispose]();
  assert.match(greeting, /^421 4\.7\.0 /);
  assert.equal(await server.stop(), 0);
});
