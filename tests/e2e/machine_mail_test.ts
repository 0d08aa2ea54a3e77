// Mail of programs to the machine itself, as cron sends it.
import assert from "node:assert/strict";
import { Dialogue } from "../support/dialogue.ts";
import { runMailapp, RunningMailapp, Workspace } from "../support/mailapp.ts";
import { freePort } from "../support/peers/ports.ts";
import { until } from "../support/peers/process.ts";

Deno.test("mail to root at any name of the machine gets to who reads it, and so do notices about what root sent", async () => {
  await using workspace = await Workspace.create();
  const [inPort, outPort] = [freePort(), freePort()];
  const config = await workspace.configure({
    "serve-in": { port: inPort },
    "serve-out": { listen: ["127.0.0.1"], port: outPort, min_free_space: 0, retry: ["1s"] },
    "mailboxes.aliases": { root: "alice" },
    dns: { servers: ["127.0.0.1:9"] },
  });
  await using serveIn = new RunningMailapp(["serve-in", "--config", config]);
  await using serveOut = new RunningMailapp(["serve-out", "--config", config]);
  for (const server of [serveIn, serveOut]) await server.event("server.ready");
  const names = ["localhost", "localhost.localdomain", Deno.hostname(), "mx.example.com"];
  const send = async (from: string, to: string) => {
    using dialogue = await Dialogue.connect(outPort);
    await dialogue.hear();
    await dialogue.say("EHLO client.test");
    assert.match(await dialogue.say(`MAIL FROM:<${from}>`), /^250 /);
    assert.match(await dialogue.say(`RCPT TO:<${to}>`), /^250 /);
    await dialogue.say("DATA");
    assert.match(await dialogue.say(`Subject: to ${to}\r\n\r\nHello\r\n.`), /^250 /);
  };
  for (const name of names) await send(`root@${name}`, `root@${name}`);
  await send("root@localhost", "nobody@localhost");
  await until(async () => (await workspace.stored("alice")).length === names.length + 1, {
    what: "the mail and the notice",
  });
  assert.deepEqual(serveOut.events.filter(({ event }) => event === "dsn.held"), []);
  const { stdout } = await runMailapp(["explain", "root@localhost", "--config", config]);
  assert.match(stdout, /local: serve-in stores it in .*\/example\.com\/alice/);
  for (const server of [serveOut, serveIn]) assert.equal(await server.stop(), 0);
});

Deno.test("a machine without mailboxes sends what is for root to its qualify domain, whatever name it has here", async () => {
  await using workspace = await Workspace.create();
  const port = freePort();
  const config = workspace.file("config.toml");
  await Deno.writeTextFile(
    config,
    `hostname = "web1.example.com"
data_dir = ${JSON.stringify(workspace.file("state"))}
[serve-out]
listen = ["127.0.0.1"]
port = ${port}
min_free_space = 0
qualify_domain = "example.com"
[serve-out.routes]
"example.com" = "127.0.0.1:${freePort()}"
`,
  );
  await using serveOut = new RunningMailapp(["serve-out", "--config", config]);
  await serveOut.event("server.ready");
  for (const recipient of ["root", "root@localhost", "root@localhost.localdomain", "root@[127.0.0.1]"]) {
    using dialogue = await Dialogue.connect(port);
    await dialogue.hear();
    await dialogue.say("EHLO client.test");
    assert.match(await dialogue.say("MAIL FROM:<root@localhost>"), /^250 /);
    assert.match(await dialogue.say(`RCPT TO:<${recipient}>`), /^250 /);
    await dialogue.say("DATA");
    assert.match(await dialogue.say("Subject: x\r\n\r\nHello\r\n."), /^250 /);
    const { stdout } = await runMailapp(["explain", recipient, "--config", config]);
    assert.match(stdout, /127\.0\.0\.1 port \d+/, recipient);
  }
  await until(
    () => serveOut.events.filter(({ event }) => event === "attempt.deferred").length >= 4,
    { what: "attempts" },
  );
  const { stdout } = await runMailapp(["queue", "list", "--json", "--config", config]);
  const entries = JSON.parse(stdout) as { recipients: { address: string }[] }[];
  assert.deepEqual(
    entries.flatMap(({ recipients }) => recipients.map(({ address }) => address)),
    Array.from({ length: 4 }, () => "root@example.com"),
  );
  assert.equal(await serveOut.stop(), 0);
});
