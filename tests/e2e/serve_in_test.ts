// serve-in as it is shipped: a process, a configuration, signals.
import assert from "node:assert/strict";
import { Dialogue } from "../support/dialogue.ts";
import { runMailapp, RunningMailapp, signalUntilEnded, Workspace } from "../support/mailapp.ts";

async function start(config: string): Promise<{ server: RunningMailapp; port: number }> {
  const server = new RunningMailapp(["serve-in", "--config", config]);
  const { port } = await server.event("listener.ready");
  await server.event("server.ready");
  return { server, port: Number(port) };
}

async function deliver(port: number, recipient: string): Promise<string> {
  using dialogue = await Dialogue.connect(port);
  await dialogue.hear();
  await dialogue.say("EHLO client.test");
  await dialogue.say("MAIL FROM:<a@client.test>");
  const reply = await dialogue.say(`RCPT TO:<${recipient}>`);
  if (!reply.startsWith("250")) return reply;
  await dialogue.say("DATA");
  return await dialogue.say("Subject: x\r\n\r\nHello\r\n.");
}

Deno.test("serve-in stores a message, answers the healthcheck, and ends on SIGTERM with 0", async () => {
  await using workspace = await Workspace.create();
  const config = await workspace.configure();
  const { server, port } = await start(config);
  await using _ = server;
  assert.match(await deliver(port, "alice@example.com"), /^250 2\.0\.0 /);
  const [name = ""] = await workspace.stored("alice");
  const text = await Deno.readTextFile(workspace.file("mail", "example.com", "alice", "new", name));
  assert.match(text, /^Return-Path: <a@client\.test>\nDelivered-To: alice@example\.com\nReceived: /);
  assert.ok(text.endsWith("Subject: x\n\nHello\n"));

  await workspace.configure({ "serve-in": { port } });
  const healthy = await runMailapp(["healthcheck", "serve-in", "--config", config]);
  assert.equal(healthy.code, 0, healthy.stderr);
  await workspace.configure({ "serve-in": { port, listen: ["127.0.0.3", "127.0.0.1"] } });
  const onTheOther = await runMailapp(["healthcheck", "serve-in", "--config", config]);
  assert.match(
    onTheOther.stdout,
    new RegExp(`^serve-in on 127\\.0\\.0\\.1:${port}: answers, and accepts mail\n$`),
  );
  await workspace.configure({ "serve-in": { port } });
  assert.equal(await server.stop(), 0);
  const gone = await runMailapp(["healthcheck", "serve-in", "--config", config]);
  assert.equal(gone.code, 69);
  assert.match(gone.stderr, new RegExp(`serve-in on 127\\.0\\.0\\.1:${port} does not answer: `));
});

Deno.test("serve-in on SIGTERM tells idle sessions 421 and lets a message in flight end", async () => {
  await using workspace = await Workspace.create();
  const { server, port } = await start(await workspace.configure());
  await using _ = server;
  using idle = await Dialogue.connect(port);
  await idle.hear();
  await idle.say("EHLO idle.test");
  using busy = await Dialogue.connect(port);
  await busy.hear();
  await busy.say("EHLO busy.test");
  await busy.say("MAIL FROM:<>");
  await busy.say("RCPT TO:<bob@example.com>");
  assert.match(await busy.say("DATA"), /^354 /);
  server.signal("SIGTERM");
  assert.match(await idle.hear(), /^421 /);
  assert.match(await busy.say("Subject: in flight\r\n\r\n."), /^250 /);
  assert.equal(await server.ended(), 0);
  assert.equal((await workspace.stored("bob")).length, 1);
});

Deno.test("serve-in ends at once on a second signal, with nothing torn", async () => {
  await using workspace = await Workspace.create();
  const { server, port } = await start(await workspace.configure());
  await using _ = server;
  using busy = await Dialogue.connect(port);
  await busy.hear();
  await busy.say("EHLO busy.test");
  await busy.say("MAIL FROM:<>");
  await busy.say("RCPT TO:<bob@example.com>");
  await busy.say("DATA");
  server.signal("SIGINT");
  await server.event("server.stopping");
  // Those within a moment of the first count as the same request; the next one does not.
  await signalUntilEnded(server);
  assert.match(await busy.hear(), /^(?:421 .*)?$/);
  assert.deepEqual(await workspace.stored("bob"), []);
});

Deno.test("serve-in on SIGHUP reads mailboxes again, and keeps the old where the new are wrong", async () => {
  await using workspace = await Workspace.create();
  const { server, port } = await start(
    await workspace.configure({ log: { file: workspace.file("log") } }).then(() => workspace.configure()),
  );
  await using _ = server;
  assert.match(await deliver(port, "carol@example.com"), /^550 5\.1\.1 /);
  await workspace.configure({ mailboxes: { users: ["alice", "carol"] } });
  server.signal("SIGHUP");
  assert.deepEqual((await server.event("config.reloaded"))["needs_restart"], []);
  assert.match(await deliver(port, "carol@example.com"), /^250 /);
  assert.match(await deliver(port, "bob@example.com"), /^550 5\.1\.1 /);

  await workspace.configure({ mailboxes: { users: ["alice", "../carol"] } });
  server.signal("SIGHUP");
  assert.match(String((await server.event("config.not_reloaded"))["error"]), /mailboxes\.users/);
  assert.match(await deliver(port, "carol@example.com"), /^250 /);

  await workspace.configure({ "serve-in": { port: 7 } });
  server.signal("SIGHUP");
  assert.deepEqual((await server.event("config.reloaded", { after: 1 }))["needs_restart"], ["serve-in.port"]);
  assert.equal(await server.stop(), 0);
});

Deno.test("serve-in opens its log file again on SIGHUP", async () => {
  await using workspace = await Workspace.create();
  const file = workspace.file("mailapp.log");
  const config = await workspace.configure({ log: { file } });
  await using server = new RunningMailapp(["serve-in", "--config", config]);
  const waitFor = async (event: string) => {
    using watcher = Deno.watchFs(workspace.path, { recursive: false });
    const read = async () => (await Deno.readTextFile(file).catch(() => "")).includes(`"event":"${event}"`);
    if (await read()) return;
    for await (const _ of watcher) if (await read()) return;
  };
  await waitFor("server.ready");
  await Deno.rename(file, `${file}.1`);
  server.signal("SIGHUP");
  await waitFor("config.reloaded");
  assert.equal(await server.stop(), 0);
  const first = await Deno.readTextFile(`${file}.1`);
  assert.ok(first.includes('"event":"listener.ready"'));
  for (const line of first.trimEnd().split("\n")) assert.equal(JSON.parse(line).server, "serve-in", line);
  assert.ok((await Deno.readTextFile(file)).includes('"event":"server.stopped"'));
});

Deno.test("serve-in says which port is taken, and ends with 69", async () => {
  await using workspace = await Workspace.create();
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr;
  const config = await workspace.configure({ "serve-in": { port } });
  const { code, stderr } = await runMailapp(["serve-in", "--config", config]);
  assert.equal(code, 69);
  assert.match(stderr, new RegExp(`cannot listen on 127\\.0\\.0\\.1:${port}: another program has that port`));
});

Deno.test("serve-in waits for the addresses that it is given, and serves on when it lacks one", async () => {
  await using workspace = await Workspace.create();
  // TEST-NET-3 (RFC 5737) is not routed.
  const missing = await workspace.configure({ "serve-in": { listen: ["203.0.113.1"] } });
  {
    await using server = new RunningMailapp(["serve-in", "--config", missing]);
    const { address, error } = await server.event("listener.missing");
    assert.equal(address, "203.0.113.1");
    assert.match(String(error), /cannot listen on 203\.0\.113\.1:0: this machine has no such address/);
    await server.event("server.ready");
    assert.equal(await server.stop(), 0);
  }
  assert.match(
    (await runMailapp(["check-config", "--config", missing])).stdout,
    /warning: serve-in\.listen: no interface has 203\.0\.113\.1 now; serve-in waits for it/,
  );
  const { server, port } = await start(
    await workspace.configure({ "serve-in": { listen: ["203.0.113.1", "127.0.0.1"] } }),
  );
  await using _ = server;
  assert.equal((await server.event("listener.missing"))["address"], "203.0.113.1");
  assert.match(await deliver(port, "bob@example.com"), /^250 /);
  assert.equal(await server.stop(), 0);
});

Deno.test("serve-in says what to do when it cannot create its data directory", async () => {
  await using workspace = await Workspace.create();
  await Deno.writeTextFile(workspace.file("state"), "a file");
  const { code, stderr } = await runMailapp(["serve-in", "--config", await workspace.configure()]);
  assert.equal(code, 78);
  assert.match(stderr, /data_dir = ".*\/state": /);
});
