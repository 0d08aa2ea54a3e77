// `mailapp status` of running servers.
import assert from "node:assert/strict";
import { runInProcess } from "../support/in_process.ts";
import { existsSync } from "node:fs";
import { failure, ok, warning } from "../../doctor/finding.ts";
import { findingsFile, saveFindings } from "../../doctor/saved_findings.ts";
import { runMailapp, RunningMailapp, Workspace } from "../support/mailapp.ts";
import { FakeDns } from "../support/fake_dns.ts";
import { freePort } from "../support/peers/ports.ts";
import { until } from "../support/peers/process.ts";
import { SubmissionMachine } from "../support/submission.ts";
import { WireClient } from "../support/wire_client.ts";

async function say(port: number, commands: readonly string[]): Promise<void> {
  using client = await WireClient.connect(port);
  await client.hear();
  for (const command of commands) await client.say(command);
}

Deno.test("status shows which server is up, what went in and out, what was refused, and what waits", async () => {
  await using workspace = await Workspace.create();
  await using dns = await FakeDns.start({ "example.com MX": { answers: [] } });
  const [inPort, outPort] = [freePort(), freePort()];
  const config = await workspace.configure({
    log: { file: workspace.file("mailapp.log") },
    dns: { servers: [dns.server] },
    "serve-in": { port: inPort },
    "serve-out": { listen: ["127.0.0.1"], port: outPort, min_free_space: 0, allow_private_targets: true },
    "serve-out.routes": { "late.test": `127.0.0.1:${freePort()}` },
  });
  await using _serveIn = new RunningMailapp(["serve-in", "--config", config]);
  await using serveOut = new RunningMailapp(["serve-out", "--config", config]);
  const logged = (pattern: RegExp) =>
    until(async () => pattern.test(await Deno.readTextFile(workspace.file("mailapp.log")).catch(() => "")), {
      what: String(pattern),
    });
  await logged(/"server\.ready"[^\n]*"serve-in"/);
  await logged(/"server\.ready"[^\n]*"serve-out"/);
  const submit = (to: string) =>
    say(outPort, [
      "EHLO c.test",
      "MAIL FROM:<ann@example.com>",
      `RCPT TO:<${to}>`,
      "DATA",
      "Subject: x\r\n\r\nx\r\n.",
      "QUIT",
    ]);
  await submit("alice@example.com");
  await submit("carl@late.test");
  // From this machine: none of the refusals to clients.
  await say(inPort, ["EHLO c.test", "MAIL FROM:<x@c.test>", "RCPT TO:<nobody@example.com>", "QUIT"]);
  for (const user of ["any", "noone"]) {
    await say(outPort, ["EHLO c.test", "MAIL FROM:<x@c.test>", `RCPT TO:<${user}@a..test>`, "QUIT"]);
  }
  await logged(/"attempt\.relayed"/);
  await logged(/"attempt\.deferred"/);
  await logged(/"command\.refused"[^\n]*noone/);

  const { code, stdout, stderr } = await runMailapp(["status", "--config", config]);
  assert.deepEqual([code, stderr], [0, ""], stdout);
  assert.match(
    stdout,
    new RegExp(`^serve-in +up, since \\d{4}-\\d\\d-\\d\\d .*, 127\\.0\\.0\\.1:${inPort}$`, "m"),
  );
  assert.match(stdout, new RegExp(`^serve-out +up, since .*, 127\\.0\\.0\\.1:${outPort}$`, "m"));
  // Midnight may have passed meanwhile: stored, submitted, refused, relayed, deferred, failed, sessions.
  assert.match(stdout, /^(?:today|yesterday) +1 +2 +2 +1 +[1-9]\d* +0 +[4-6]$/m);
  assert.match(stdout, /^sent the most from here, since yesterday:\n +2 {2}ann@example\.com$/m);
  assert.match(stdout, /^sent the most to us, since yesterday:\n +1 {2}ann@example\.com$/m);
  assert.match(stdout, /^mailapp doctor checks .* it has not run yet$/m);
  assert.match(stdout, /^ +2 {2}501 5\.5\.4 .*$/m);
  assert.doesNotMatch(stdout, /550 5\.1\.1/);
  assert.match(
    stdout,
    /^1 message in the queue, the oldest for \d+ s\n +1 {2}late\.test, oldest \d+ s: .*connection refused$/m,
  );
  assert.match(stdout, /^no problems$/m);

  using visitor = await WireClient.connect(inPort);
  await visitor.hear();
  await saveFindings(findingsFile(workspace.file("state")), {
    at: Date.now() - 8 * 86_400_000,
    findings: [
      ok("dns.ok", "127.0.0.1", "it answers"),
      warning("mx.odd", "example.com", { what: "it is \u001bodd", next: "Change it." }),
      failure("smtp.closed", "192.0.2.1:25", { what: "it is closed", next: "Open it." }),
    ],
  });
  const looked = await runMailapp(["status", "--config", config]);
  assert.equal(looked.code, 0, "what doctor found may be mended since");
  assert.match(looked.stdout, /^open connections: serve-in 1, serve-out 0$/m);
  assert.match(
    looked.stdout,
    /^mailapp doctor at \S+ \S+; run it again:\nFAILURE: smtp 192\.0\.2\.1:25: it is closed\n +→ Open it\.\nWARNING: mx example\.com: it is \\u001bodd\n/m,
  );

  const json = JSON.parse((await runMailapp(["status", "--json", "--config", config])).stdout);
  assert.deepEqual(json.servers.map(({ connections }: Record<string, unknown>) => connections), [1, 0]);
  assert.deepEqual(json.doctor.findings.map(({ id }: Record<string, unknown>) => id), [
    "mx.odd",
    "smtp.closed",
  ]);
  assert.deepEqual(json.servers.map(({ name, up }: Record<string, unknown>) => [name, up]), [
    ["serve-in", true],
    ["serve-out", true],
  ]);
  assert.equal(json.queue.domains[0].domain, "late.test");
  assert.equal(json.refusals[0].count, 2);

  await using watching = new RunningMailapp(["status", "--watch", "1", "--config", config]);
  assert.ok((await watching.output()).startsWith("\u001b[H\u001b[2J20"));
  watching.signal("SIGTERM");
  assert.equal(await watching.ended(), 0);

  assert.equal(await serveOut.stop(), 0);
  const after = await runMailapp(["status", "--config", config]);
  assert.equal(after.code, 69);
  assert.match(after.stdout, /^serve-out +DOWN, 127\.0\.0\.1:\d+: connection refused$/m);
  assert.match(after.stdout, /^1 message in the queue/m);
});

Deno.test("status and doctor say which server accepts no mail now, and what it answers", async () => {
  await using workspace = await Workspace.create();
  await using dns = await FakeDns.start({ "example.com MX": { answers: [] } });
  const config = await workspace.configure({
    log: { file: workspace.file("mailapp.log") },
    dns: { servers: [dns.server] },
    "serve-in": { port: freePort() },
    "serve-out": { listen: ["127.0.0.1"], port: freePort() },
  });
  await using serveIn = new RunningMailapp(["serve-in", "--config", config]);
  await using serveOut = new RunningMailapp(["serve-out", "--config", config]);
  for (const server of ["serve-in", "serve-out"]) {
    assert.equal((await runMailapp(["healthcheck", server, "--wait", "60", "--config", config])).code, 0);
  }
  // What stands in the way shows in no figure, and in the rights of no file.
  const mailbox = "mail/example.com/alice/tmp";
  await Deno.remove(workspace.file(mailbox), { recursive: true });
  await Deno.writeTextFile(workspace.file(mailbox), "");
  const { code, stdout } = await runMailapp(["status", "--config", config]);
  assert.match(stdout, /^! *serve-in accepts no mail now: 450 4\.2\.0 /m);
  assert.doesNotMatch(stdout, /serve-out accepts no mail/);
  assert.equal(code, 69);
  const { stdout: looked } = await runMailapp(["doctor", "--probe", "example.com", "--config", config]);
  assert.match(looked, /^FAILURE: smtp .*: it accepts no mail now: 450 4\.2\.0 /m);
  assert.equal(await serveIn.stop(), 0);
  assert.equal(await serveOut.stop(), 0);
});

Deno.test("status and metrics show what became of logins and submissions, also if serve-submit has no STARTTLS", async () => {
  await using dns = await FakeDns.start({ "example.com MX": { answers: [] } });
  const scraped = freePort();
  await using machine = await SubmissionMachine.create({
    changes: {
      dns: { servers: [dns.server] },
      metrics: { serve_submit: `127.0.0.1:${scraped}` },
      "serve-submit": { port: false, messages_an_hour: 1 },
    },
  });
  await using serveIn = await machine.start("serve-in");
  await using serveOut = await machine.start("serve-out");
  await using serveSubmit = await machine.start("serve-submit");
  using client = await machine.login();
  const message = async (sender: string, author: string) => {
    const replies: string[] = [];
    for (const line of [`MAIL FROM:<${sender}>`, "RCPT TO:<bob@example.com>", "DATA"]) {
      replies.push(await client.say(line));
      if (/^[45]/.test(replies.at(-1) ?? "")) return replies.at(-1) ?? "";
    }
    return await client.say(`From: ${author}\r\nSubject: x\r\n\r\nx\r\n.`);
  };
  const [alice, bob] = ["alice@example.com", "bob@example.com"];
  assert.match(await message(bob, alice), /^550 5\.7\.1 /);
  assert.match(await message(alice, bob), /^550 5\.7\.1 /);
  assert.match(await message(alice, alice), /^250 /);
  assert.match(await message(alice, alice), /^450 4\.7\.1 /);
  using guesser = await machine.connect("::1");
  assert.match(await guesser.say(`AUTH PLAIN ${btoa("\0alice@example.com\0a guess")}`), /^535 /);

  const metrics = await (await fetch(`http://127.0.0.1:${scraped}/metrics`)).text();
  for (const reason of ["sender", "author", "messages_an_hour"]) {
    assert.ok(metrics.includes(`\nmailapp_submission_refusals_total{reason="${reason}"} 1\n`), metrics);
  }
  for (const result of ["accepted", "refused"]) {
    assert.ok(metrics.includes(`\nmailapp_logins_total{mechanism="PLAIN",result="${result}"} 1\n`), metrics);
  }
  const log = machine.workspace.file("log");
  await Deno.writeTextFile(
    log,
    [serveIn, serveOut, serveSubmit].flatMap(({ events }) => events).map((event) =>
      `${JSON.stringify(event)}\n`
    )
      .join(""),
  );
  const { stdout } = await runMailapp(["status", "--config", machine.config, "--log", log]);
  assert.match(stdout, new RegExp(`^serve-submit +up, since .*, 127\\.0\\.0\\.1:${machine.tlsPort}$`, "m"));
  assert.match(
    stdout,
    /^logins (?:today|yesterday): 1 accepted, 1 refused, 0 put off, 0 pauses, 1 limit reached$/m,
  );
});

Deno.test("status names the domain that DNS gives no answer about, and the server that was asked", async () => {
  await using workspace = await Workspace.create();
  await using dns = await FakeDns.start({ "example.com MX": { rcode: 2 } });
  const config = await workspace.configure({ dns: { servers: [dns.server] } });
  const { code, stdout } = await runMailapp(["status", "--config", config]);
  assert.equal(code, 69);
  assert.ok(stdout.includes(`DNS: no answer about example.com from ${dns.server}: `), stdout);
});

Deno.test({
  name: "status says when there is no configuration file",
  ignore: existsSync("/etc/mailapp/config.toml"),
  async fn() {
    const { stdout } = await runMailapp(["status"]);
    assert.match(stdout, /\nno \/etc\/mailapp\/config\.toml: the defaults apply\n$/);
    await using workspace = await Workspace.create();
    const config = await workspace.configure({});
    assert.doesNotMatch((await runMailapp(["status", "--config", config])).stdout, /the defaults apply/);
  },
});

Deno.test({
  name: "status --watch --json prints one object a line",
  // Its socket for DNS ends with the process.
  sanitizeOps: false,
  sanitizeResources: false,
  fn: async () => {
    await using workspace = await Workspace.create();
    const config = await workspace.configure({ dns: { servers: ["127.0.0.1:9"] } });
    let stop = () => {};
    const printed: string[] = [];
    const { code } = await runInProcess(["status", "--watch", "1", "--json", "--config", config], {
      onSignal: (_, handler) => {
        stop = handler;
      },
      out: (text) => {
        printed.push(text);
        if (printed.length === 2) stop();
      },
    });
    assert.equal(code, 0);
    assert.equal(printed.length, 2);
    for (const text of printed) {
      assert.match(text, /^[^\n]+\n$/);
      assert.ok(Array.isArray(JSON.parse(text).servers));
    }
  },
});
