// mailapp explain --replay: a decision of the log, what it was made by, and today's beside it.
import assert from "node:assert/strict";
import { FakeDns } from "../../selftest/dns_server.ts";
import { zoneOf } from "../../selftest/zone.ts";
import { runMailapp, Workspace } from "../support/mailapp.ts";

Deno.test("mailapp explain --replay shows what a decision was made by, and what would be decided now", async () => {
  await using workspace = await Workspace.create();
  await using dns = await FakeDns.start(zoneOf({
    "sender.test": { TXT: ["v=spf1 -all"], A: ["192.0.2.1"] },
    "_dmarc.sender.test": { TXT: ["v=DMARC1; p=reject"] },
    "there.test": { MX: ["mx.there.test"] },
    "mx.there.test": { A: ["198.51.100.7"] },
  }));
  const config = await workspace.configure({
    dns: { servers: [dns.server] },
    "serve-in.checks": { spf: true, dkim: true, arc: true, dmarc: "enforce" },
  });
  const log = workspace.file("log");
  const lines = [
    {
      event: "command.refused",
      peer: "192.0.2.9",
      session: "s1",
      command: "RCPT TO:<alice@example.com>",
      reply: "550 5.1.1 no such mailbox",
      id: "m0",
    },
    {
      event: "message.accepted",
      peer: "192.0.2.9",
      session: "s1",
      id: "m1x0b2k0a.1",
      from: "a@sender.test",
      to: ["alice@example.com"],
      octets: 900,
      spf: "pass",
      dmarc: "pass",
      iprev: "fail",
      message_id: "<one@sender.test>",
    },
    {
      event: "session.closed",
      peer: "192.0.2.9",
      session: "s1",
      hello: "out.sender.test",
      reason: "quit",
    },
    {
      event: "message.accepted",
      peer: "127.0.0.1",
      id: "q1",
      from: "b@example.com",
      to: ["c@there.test"],
      octets: 900,
      message_id: "<two@example.com>",
    },
    {
      event: "attempt.failed",
      id: "q1",
      recipient: "c@there.test",
      host: "old.there.test",
      address: "198.51.100.1",
      status: "5.1.1",
      reply: "550 5.1.1 no",
    },
  ];
  await Deno.writeTextFile(
    log,
    lines.map((fields) =>
      `${JSON.stringify({ time: "2026-11-30T08:00:00.000Z", level: "info", ...fields })}\n`
    ).join(""),
  );
  const replay = async (id: string) => {
    const { code, stdout, stderr } = await runMailapp([
      "explain",
      "--replay",
      id,
      "--log",
      log,
      "--config",
      config,
    ]);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  const received = await replay("<one@sender.test>");
  assert.match(received, /serve-in: message taken/);
  assert.match(received, /hello: out\.sender\.test/);
  assert.match(received, /spf: pass\n/);
  assert.match(received, /today: refuse \(spf: fail; dmarc: fail; DMARC policy of sender\.test/);
  const sent = await replay("<two@example.com>");
  assert.match(sent, /c@there\.test failed\n.*host: old\.there\.test/);
  assert.match(sent, /today: sent to mx\.there\.test \[198\.51\.100\.7\] port 25/);
  const nothing = await runMailapp([
    "explain",
    "--replay",
    "<three@example.com>",
    "--log",
    log,
    "--config",
    config,
  ]);
  assert.equal(nothing.code, 69);
  assert.equal((await runMailapp(["explain", "--config", config])).code, 64);
});
