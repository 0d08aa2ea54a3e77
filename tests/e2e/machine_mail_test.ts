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
