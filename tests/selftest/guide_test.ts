// docs/guide/prove-it.md: what it shows of duplicates, what-if and explain --replay is what these print about a log that
// real servers have written (tests/selftest/guide_log.jsonl).
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { FakeDns } from "../../selftest/dns_server.ts";
import { zoneOf } from "../../selftest/zone.ts";
import { handOver, Receiver } from "../faults/serve_out_setting.ts";
import { Dialogue } from "../support/dialogue.ts";
import { runMailapp, RunningMailapp, Workspace } from "../support/mailapp.ts";
import { freePort } from "../support/peers/ports.ts";
import { isSample, WRITES } from "./guide_samples.ts";

const LOG = fileURLToPath(new URL("guide_log.jsonl", import.meta.url));

const ZONE = zoneOf({
  "forged.example": { TXT: ["v=spf1 -all"], A: ["192.0.2.1"], MX: ["mx.forged.example"] },
  "_dmarc.forged.example": { TXT: ["v=DMARC1; p=reject"] },
  "example.net": { MX: ["mx.example.net"] },
  "mx.example.net": { A: ["127.0.0.1"] },
  "example.org": { MX: ["mx.example.org"] },
  "mx.example.org": { A: ["127.0.0.9"] },
});

async function configure(
  workspace: Workspace,
  { dns, port = 25, smtpPort = 25 }: { dns: FakeDns; port?: number; smtpPort?: number },
): Promise<string> {
  return await workspace.configure({
    dns: { servers: [dns.server] },
    "serve-in.checks": { spf: true, dkim: true, arc: true, dmarc: "enforce" },
    "serve-out": {
      listen: ["127.0.0.1"],
      port,
      smtp_port: smtpPort,
      allow_private_targets: true,
      mta_sts: false,
      min_free_space: 0,
      retry: ["1s"],
    },
  });
}

/** Has real servers write the log. */
async function writeLog(): Promise<void> {
  await using workspace = await Workspace.create();
  await using dns = await FakeDns.start(ZONE);
  await using receiver = new Receiver();
  const config = await configure(workspace, { dns, port: freePort(), smtpPort: receiver.port });
  await using serveIn = new RunningMailapp(["serve-in", "--config", config]);
  const inPort = Number((await serveIn.event("listener.ready"))["port"]);
  await serveIn.event("server.ready");
  await using serveOut = new RunningMailapp(["serve-out", "--config", config]);
  const outPort = Number((await serveOut.event("listener.ready"))["port"]);
  await serveOut.event("server.ready");
  receiver.atDot = () => {
    receiver.atDot = () => Promise.resolve("take");
    return Promise.resolve("lose");
  };
  const lost = await handOver(outPort, { to: "carol@example.net" });
  await serveOut.event("queue.done", { where: { id: lost.queueId } });
  const waiting = await handOver(outPort, { to: "dave@example.org" });
  await serveOut.event("attempt.deferred", { where: { recipient: "dave@example.org" } });
  assert.equal((await runMailapp(["queue", "remove", waiting.queueId, "--config", config])).code, 0);
  using dialogue = await Dialogue.connect(inPort);
  await dialogue.hear();
  await dialogue.say("EHLO client.example");
  await dialogue.say("MAIL FROM:<boss@forged.example>");
  assert.match(await dialogue.say("RCPT TO:<sales@example.com>"), /^550 /);
  await dialogue.say("RCPT TO:<alice@example.com>");
  await dialogue.say("DATA");
  const message = ["From: <boss@forged.example>", "Message-ID: <invoice@forged.example>", "", "Pay this."];
  assert.match(await dialogue.say(`${message.join("\r\n")}\r\n.`), /^550 /);
  await dialogue.say("QUIT");
  await serveIn.event("session.closed");
  await serveOut.event("operator.remove");
  const events = [
    ...serveIn.events.map((event) => ({ ...event, server: "serve-in" })),
    ...serveOut.events.map((event) => ({ ...event, server: "serve-out" })),
  ].filter(({ event }) => /^(?:command|message|session|attempt|queue\.done|operator|dsn)/.test(event));
  events.sort((one, other) => String(one["time" as never]).localeCompare(String(other["time" as never])));
  await Deno.writeTextFile(LOG, events.map((event) => `${JSON.stringify(event)}\n`).join(""));
}

Deno.test("docs/guide/prove-it.md shows what duplicates, what-if and explain --replay print", async () => {
  if (WRITES) await writeLog();
  await using workspace = await Workspace.create();
  await using dns = await FakeDns.start(ZONE);
  const config = await configure(workspace, { dns });
  const before = workspace.file("old.toml");
  await Deno.rename(config, before);
  const after = await workspace.configure({
    "serve-in.checks": { spf: true, dkim: true, arc: true, dmarc: "mark" },
    "mailboxes.aliases": { postmaster: "alice", sales: "bob" },
    "serve-out": {
      ...{ listen: ["127.0.0.1"], port: 25, smtp_port: 25, allow_private_targets: true, mta_sts: false },
      ...{ min_free_space: 0, retry: ["1s"] },
    },
    "serve-out.routes": { "*": "smtp.example.net:25" },
    dns: { servers: [dns.server] },
  });
  const print = async (...args: string[]) => {
    const { code, stdout, stderr } = await runMailapp([...args, "--log", LOG]);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  isSample("duplicates", await print("duplicates", "--config", before));
  isSample(
    "what-if",
    await print("what-if", "--config", after, "--installed", before, "--since", "2026-01-01"),
  );
  isSample("replay", await print("explain", "--replay", "<invoice@forged.example>", "--config", before));
});
