// mailapp explain --replay: a decision of the log, what it was made by, and today's beside it.
import assert from "node:assert/strict";
import { FakeDns } from "../../selftest/dns_server.ts";
import { zoneOf } from "../../selftest/zone.ts";
import { Dialogue } from "../support/dialogue.ts";
import { runMailapp, RunningMailapp, Workspace } from "../support/mailapp.ts";
import { freePort } from "../support/peers/ports.ts";

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

/** A message handed to a server; the reply to its end, or to what was refused before. */
async function hand(
  port: number,
  { from, to }: { readonly from: string; readonly to: string },
): Promise<string> {
  using dialogue = await Dialogue.connect(port);
  await dialogue.hear();
  await dialogue.say("EHLO client.test");
  await dialogue.say(`MAIL FROM:<${from}>`);
  assert.match(await dialogue.say(`RCPT TO:<${to}>`), /^250 /);
  const begun = await dialogue.say("DATA");
  if (!begun.startsWith("354")) return begun;
  const author = from.replace("bounce.", "");
  return await dialogue.say(`From: <${author}>\r\nTo: <${to}>\r\nMessage-ID: <m-${from}>\r\n\r\nHello\r\n.`);
}

Deno.test("what servers log of a decision lets explain --replay make the same one again, and another one today", async () => {
  await using workspace = await Workspace.create();
  const many = Array.from({ length: 30 }, (_, n) => `verification-${n}=${"x".repeat(200)}`);
  await using dns = await FakeDns.start(zoneOf({
    "reject.test": { TXT: [...many, "v=spf1 include:hosts.reject.test -all"], A: ["192.0.2.1"] },
    "hosts.reject.test": { TXT: ["v=spf1 a:out.reject.test -all"] },
    "out.reject.test": { A: ["192.0.2.7"] },
    "_dmarc.reject.test": { TXT: ["v=DMARC1; p=reject"] },
    "junk.test": { A: ["192.0.2.1"] },
    "bounce.junk.test": { TXT: ["v=spf1 ~all"] },
    "_dmarc.junk.test": { TXT: ["v=DMARC1; p=quarantine"] },
    "gone.test": { MX: ["."] },
    "two.test": { MX: ["mx.two.test"] },
    "mx.two.test": { A: ["127.0.0.9"] },
    "down.test": { fault: "servfail" },
  }));
  const tables = {
    dns: { servers: [dns.server] },
    "serve-in.checks": { spf: true, dkim: true, arc: true, dmarc: "enforce" },
    "serve-out": {
      listen: ["127.0.0.1"],
      port: freePort(),
      smtp_port: freePort(),
      allow_private_targets: true,
      mta_sts: false,
    },
  };
  const config = await workspace.configure(tables);
  await using serveIn = new RunningMailapp(["serve-in", "--config", config]);
  const port = Number((await serveIn.event("listener.ready"))["port"]);
  await serveIn.event("server.ready");
  await using serveOut = new RunningMailapp(["serve-out", "--config", config]);
  await serveOut.event("server.ready");
  assert.match(
    await hand(port, { from: "a@reject.test", to: "alice@example.com" }),
    /^550 5\.7\.1 DMARC policy/,
  );
  assert.match(await hand(port, { from: "b@bounce.junk.test", to: "alice@example.com" }), /^250 /);
  for (const to of ["c@gone.test", "d@two.test", "e@down.test"]) {
    const from = `program+${to.slice(0, 1)}@example.com`;
    assert.match(await hand(tables["serve-out"].port, { from, to }), /^250 /);
    await serveOut.event(to === "c@gone.test" ? "attempt.failed" : "attempt.deferred", {
      where: { recipient: to },
    });
  }
  const log = workspace.file("log");
  await Deno.writeTextFile(
    log,
    [...serveIn.events, ...serveOut.events].map((event) => `${JSON.stringify(event)}\n`).join(""),
  );
  const replay = async (id: string, ...more: string[]) => {
    const args = ["explain", "--replay", id, "--log", log, "--config", config, ...more];
    const { code, stdout, stderr } = await runMailapp(args);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  const refused = await replay("<m-a@reject.test>");
  assert.match(refused, /DNS: TXT _dmarc\.reject\.test \d+s "v=DMARC1; p=reject"/);
  assert.match(refused, /DNS: TXT reject\.test \d+s "v=spf1 include:hosts\.reject\.test -all" \+30/);
  assert.match(refused, /decided again by that: the same: refuse \(spf: fail; dmarc: fail; DMARC policy/);
  assert.match(refused, /today: refuse \(/);
  const filed = await replay("<m-b@bounce.junk.test>");
  assert.match(filed, /filed as junk/);
  assert.match(filed, /author: junk\.test/);
  assert.match(filed, /decided again by that: the same: junk \(/);
  const failed = await replay("<m-program+c@example.com>");
  assert.match(failed, /DNS: MX gone\.test \d+s 0 \./);
  assert.match(failed, /the same: failed: 5\.1\.10/);
  const silent = await replay("<m-program+d@example.com>");
  assert.match(silent, /DNS: MX two\.test \d+s 10 mx\.two\.test/);
  assert.match(silent, /the same: sent to mx\.two\.test \[127\.0\.0\.9\]/);
  assert.match(await replay("<m-program+e@example.com>"), /the same: deferred: 4\.4\.3 MX of down\.test/);

  // The world has changed since.
  Object.assign(
    dns.zone,
    zoneOf({
      "_dmarc.reject.test": { TXT: ["v=DMARC1; p=none"] },
      "_dmarc.junk.test": { TXT: ["v=DMARC1; p=reject"] },
      "gone.test": { MX: ["mx.two.test"] },
      "down.test": { MX: ["."] },
    }),
  );
  for (
    const [id, then, today] of [
      ["<m-a@reject.test>", /the same: refuse/, /today: inbox \(spf: fail; dmarc: fail\)/],
      ["<m-b@bounce.junk.test>", /the same: junk/, /today: refuse/],
      ["<m-program+c@example.com>", /the same: failed: 5\.1\.10/, /today: sent to mx\.two\.test/],
      ["<m-program+e@example.com>", /the same: deferred: 4\.4\.3/, /today: failed: 5\.1\.10/],
    ] as const
  ) {
    const text = await replay(id);
    assert.match(text, then);
    assert.match(text, today);
  }
  // So has the configuration.
  await workspace.configure({
    ...tables,
    "serve-in.checks": { ...tables["serve-in.checks"], dmarc: "mark" },
    "serve-out.routes": { "two.test": "mx.two.test:2525" },
  });
  assert.match(await replay("<m-a@reject.test>"), /decided again by that: otherwise now: inbox/);
  const { decisions } = JSON.parse(await replay("<m-a@reject.test>", "--json"));
  assert.deepEqual(decisions.map(({ same }: { same: boolean }) => same), [false]);
});
