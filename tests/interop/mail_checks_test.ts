// The checks of serve-in as it is shipped, in its sandbox, with a real named to ask.
import assert from "node:assert/strict";
import { Dialogue } from "../support/dialogue.ts";
import { runMailapp, RunningMailapp, Workspace } from "../support/mailapp.ts";
import { type Bind, startBind } from "../support/peers/bind.ts";
import { freePort } from "../support/peers/ports.ts";
import { testWith } from "../support/requires.ts";

const ZONES = {
  "good.test": `@ TXT "v=spf1 ip4:127.0.0.1 -all"\n_dmarc TXT "v=DMARC1; p=reject"`,
  "bank.test": `@ TXT "v=spf1 ip4:192.0.2.1 -all"\n@ A 192.0.2.1\n_dmarc TXT "v=DMARC1; p=reject"`,
  "shop.test": `@ TXT "v=spf1 -all"\n_dmarc TXT "v=DMARC1; p=quarantine"`,
  "example.com": `@ TXT "v=spf1 -all"\n_dmarc TXT "v=DMARC1; p=reject"`,
  "test": "none A 192.0.2.1",
  "127.in-addr.arpa": "1.0.0 PTR client.good.test.\n9.0.0 PTR nothing.good.test.",
  "x.list":
    `2.0.0.127 A 127.0.0.2\n9.0.0.127 A 127.0.0.2\n9.0.0.127 TXT "Listed, see https://x.list/127.0.0.9"`,
  "world.list": `* A 127.0.0.2`,
};

type Lines = Readonly<Record<string, unknown>>;

interface Serving extends AsyncDisposable {
  readonly workspace: Workspace;
  readonly server: RunningMailapp;
  readonly bind: Bind;
  /** Ends it and starts it again, with something done in between. */
  restart(between?: () => Promise<void>): Promise<void>;
  /** Sends a message, up to the reply that decides. */
  send(
    message: { from?: string; author?: string; source?: string; helo?: string; top?: string },
  ): Promise<string>;
}

async function serve(checks: Lines, more: Readonly<Record<string, Lines>> = {}): Promise<Serving> {
  const stack = new AsyncDisposableStack();
  const bind = stack.use(await startBind(ZONES));
  const workspace = stack.use(await Workspace.create());
  const port = freePort();
  const config = await workspace.configure({
    dns: { servers: [`127.0.0.1:${bind.port}`] },
    ...more,
    "serve-in": { port, ...more["serve-in"] },
    "serve-in.checks": { spf: true, dkim: true, dmarc: "enforce", ...checks },
  });
  const start = async () => {
    const server = new RunningMailapp(["serve-in", "--config", config]);
    await server.event("server.ready");
    return server;
  };
  let server = await start();
  stack.defer(() => server[Symbol.asyncDispose]());
  return {
    workspace,
    bind,
    get server() {
      return server;
    },
    async restart(between) {
      assert.equal(await server.stop(), 0);
      await between?.();
      server = await start();
    },
    async send(
      { from = "a@good.test", author = from, source = "127.0.0.1", helo = "client.test", top = "" },
    ) {
      using dialogue = await Dialogue.connectFrom(source, port);
      await dialogue.hear();
      await dialogue.say(`EHLO ${helo}`);
      await dialogue.say(`MAIL FROM:<${from}>`);
      await dialogue.say("RCPT TO:<alice@example.com>");
      const reply = await dialogue.say("DATA");
      if (!reply.startsWith("354")) return reply;
      return await dialogue.say(`${top}From: <${author}>\r\nSubject: x\r\n\r\nHello\r\n.`);
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** The only message in a folder of alice's. */
async function onlyMessage({ workspace }: Serving, folder = "new"): Promise<string> {
  const directory = workspace.file("mail", "example.com", "alice", ...folder.split("/"));
  const names = await Array.fromAsync(Deno.readDir(directory), ({ name }) => name);
  assert.equal(names.length, 1);
  const path = `${directory}/${names[0]}`;
  const text = await Deno.readTextFile(path);
  await Deno.remove(path);
  return text;
}

testWith(["named"], "serve-in does what DMARC says, and writes all it found on the message", async () => {
  await using serving = await serve({});
  assert.match(
    await serving.send({ top: "Authentication-Results: MX.example.com (x) 1; dkim=pass\r\n" }),
    /^250 /,
  );
  const good = await onlyMessage(serving);
  assert.match(
    good,
    /^Return-Path: <a@good\.test>\nDelivered-To: alice@example\.com\nAuthentication-Results: mx\.example\.com;\n/,
  );
  assert.match(good, /\n\tspf=pass smtp\.mailfrom=a@good\.test;\n/);
  assert.match(good, /\n\tdmarc=pass \(p=reject dis=none\) header\.from=good\.test;\n/);
  assert.match(good, /\n\tiprev=fail policy\.iprev=127\.0\.0\.1\n/);
  assert.equal(good.match(/^Authentication-Results:/gm)?.length, 1);

  const refused = await serving.send({ from: "a@bank.test" });
  assert.equal(
    refused,
    "550 5.7.1 DMARC policy of bank.test: neither SPF nor DKIM authenticates bank.test: SPF fail for bank.test, no DKIM signature",
  );
  assert.match(
    await serving.send({ from: "a@good.test", author: "a@bank.test" }),
    /^550 5\.7\.1 DMARC policy of bank\.test/,
  );
  assert.deepEqual(await serving.workspace.stored("alice"), []);
  await serving.server.event("message.refused");

  assert.match(await serving.send({ from: "a@shop.test" }), /^250 /);
  assert.match(
    await onlyMessage(serving, ".Junk/new"),
    /\tdmarc=fail \(p=quarantine dis=quarantine\) header\.from=shop\.test;\n/,
  );
  assert.match(await serving.send({ from: "a@none.test" }), /^250 /);
  assert.match(
    await onlyMessage(serving),
    /\tdmarc=none \(none\.test has no DMARC policy\) header\.from=none\.test;\n/,
  );
});

testWith(
  ["named"],
  "serve-in takes local mail from serve-out, and no mail in its own name from others",
  async () => {
    await using serving = await serve({});
    assert.match(
      await serving.send({ from: "bob@example.com" }),
      /^550 5\.7\.1 DMARC policy of example\.com/,
    );
    assert.match(
      await serving.send({ from: "bob@example.com", helo: "mx.example.com", source: "127.0.0.2" }),
      /^550 /,
    );
    assert.match(await serving.send({ from: "bob@example.com", helo: "mx.example.com" }), /^250 /);
    assert.match(await onlyMessage(serving), /\tspf=pass smtp\.mailfrom=bob@example\.com;\n/);
  },
);

testWith(
  ["named"],
  "serve-in refuses whom a list has, with the list's words, and ignores one that lists the world",
  async () => {
    await using serving = await serve({
      dns_lists: [{ zone: "x.list", action: "refuse" }, { zone: "world.list", action: "refuse" }],
    });
    const ignored = await serving.server.event("dns_list.ignored");
    assert.equal(ignored.zone, "world.list");
    assert.match(await serving.send({}), /^250 /);
    assert.equal(
      await serving.send({ source: "127.0.0.9" }),
      "550 5.7.1 127.0.0.9 is listed by x.list: Listed, see https://x.list/127.0.0.9",
    );
  },
);

testWith(["named"], "serve-in asks unknown senders to come again, once, also across a restart", async () => {
  await using serving = await serve({ greylist: "all" });
  assert.match(await serving.send({}), /^451 4\.7\.1 /);
  assert.match(await serving.send({}), /^451 4\.7\.1 /);
  const file = serving.workspace.file("state", "incoming", "greylist");
  await serving.restart(async () => {
    const text = await Deno.readTextFile(file);
    // As if a minute had passed since.
    await Deno.writeTextFile(file, text.replace(/^s (\d+)/gm, (_, time) => `s ${Number(time) - 60}`));
  });
  assert.match(await serving.send({}), /^250 /);
  await serving.restart();
  assert.match(await serving.send({}), /^250 /);
  assert.match(await serving.send({ from: "a@none.test" }), /^451 /);
});

testWith(["named"], "serve-in takes mail while no DNS server answers", async () => {
  await using serving = await serve({ timeout: "2s" });
  await serving.bind.program.stop();
  assert.match(await serving.send({ from: "a@bank.test" }), /^250 /);
  const text = await onlyMessage(serving);
  assert.match(text, /\tspf=temperror smtp\.mailfrom=a@bank\.test;\n/);
  assert.match(text, /\tdmarc=temperror header\.from=bank\.test;\n/);
});

testWith(
  ["named"],
  "serve-in only marks where DMARC is not enforced, and puts junk nowhere where there is no folder",
  async () => {
    await using serving = await serve({ dmarc: "mark" }, { mailboxes: { junk_folder: "" } });
    assert.match(await serving.send({ from: "a@bank.test" }), /^250 /);
    assert.match(
      await onlyMessage(serving),
      /\tdmarc=fail \(p=reject dis=reject\) header\.from=bank\.test;\n/,
    );
  },
);

testWith(["named"], "explain tells what serve-in would do with a sender, and it does so", async () => {
  await using serving = await serve({
    greylist: "suspicious",
    dns_lists: [{ zone: "x.list", action: "junk" }, { zone: "world.list", action: "refuse" }],
  });
  const config = serving.workspace.file("config.toml");
  const explain = async (from: string, ip: string, ...more: string[]) => {
    const args = ["explain", "--from", from, "--ip", ip, "--config", config, ...more, "alice@example.com"];
    const { stdout, stderr, code } = await runMailapp(args);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  const inbox = serving.workspace.file("mail", "example.com", "alice", "new");
  assert.equal(
    await explain("a@good.test", "127.0.0.1", "--helo", "client.test"),
    `to alice@example.com, from a@good.test, by client.test [127.0.0.1]
  SPF pass for good.test: ip4:127.0.0.1
  SPF none for client.test (HELO)
  reverse DNS fail
  world.list is not used: it lists 127.0.0.1, so it lists the world
  DMARC pass (p=reject of good.test, which asks for none): SPF authenticates good.test
  taken
    ${inbox}
`,
  );
  assert.match(await serving.send({}), /^250 /);
  assert.match(
    await explain("a@bank.test", "127.0.0.1"),
    /\n {2}refused: DMARC policy of bank\.test: neither SPF nor DKIM authenticates bank\.test: [^\n]*\n$/,
  );
  assert.match(
    await explain("a@shop.test", "127.0.0.8", "--helo", "x.test"),
    /\n {2}deferred for a minute /,
  );
  assert.match(
    await explain("<>", "127.0.0.9"),
    /SPF none for nothing\.good\.test\n.*listed by x\.list \(junk, 127\.0\.0\.2\)/s,
  );
  const json = JSON.parse(await explain("a@none.test", "127.0.0.9", "--json"));
  assert.deepEqual([json.outcome, json.recipient, json.spf.result, json.listings[0].code], [
    "greylist",
    "accepted",
    "none",
    "127.0.0.2",
  ]);
  const wrong = await runMailapp([
    "explain",
    "--from",
    "a@good.test",
    "--config",
    config,
    "alice@example.com",
  ]);
  assert.equal(wrong.code, 64);
  const nobody = await runMailapp([
    "explain",
    "--from",
    "a@good.test",
    "--ip",
    "127.0.0.1",
    "--config",
    config,
    "nobody@example.com",
  ]);
  assert.match(nobody.stdout, /no such mailbox: 550 5\.1\.1\n {2}refused\n$/);
});

testWith(["named"], "doctor says whether DNS answers serve-in's checks, and which list is dead", async () => {
  await using serving = await serve({ dns_lists: [{ zone: "world.list", action: "refuse" }] });
  const doctor = async () => {
    const args = [
      "doctor",
      "--json",
      "--probe",
      "good.test",
      "--config",
      serving.workspace.file("config.toml"),
    ];
    const { findings } = JSON.parse((await runMailapp(args)).stdout) as {
      findings: Record<string, string>[];
    };
    return findings.filter(({ id }) => /^(?:dns|incoming)/.test(id ?? "")).map(({ id, outcome }) =>
      `${id} ${outcome}`
    );
  };
  assert.deepEqual(await doctor(), ["dns ok", "incoming.dns ok", "incoming.list warning"]);
});

testWith(["named"], "check-message runs the checks on a stored message and on any other", async () => {
  await using serving = await serve({});
  assert.match(await serving.send({}), /^250 /);
  const config = serving.workspace.file("config.toml");
  const [name = ""] = await serving.workspace.stored("alice");
  const stored = serving.workspace.file("mail", "example.com", "alice", "new", name);
  const check = (...args: string[]) => runMailapp(["check-message", "--config", config, ...args]);
  const again = await check(stored);
  assert.equal(
    again.stdout,
    `from a@good.test, by client.test [127.0.0.1]
  spf: pass
  dmarc: pass
  iprev: fail
  taken
`,
    again.stderr,
  );
  const other = serving.workspace.file("other.eml");
  const signature = `DKIM-Signature: v=1; a=rsa-sha256; d=good.test; s=gone; h=from; bh=${
    "A".repeat(43)
  }=; b=AAAA\r\n`;
  const unread = "DKIM-Signature: v=1\r\n";
  await Deno.writeTextFile(other, `${signature}${unread}From: <a@bank.test>\r\nSubject: x\r\n\r\nx\r\n`);
  const refused = JSON.parse(
    (await check("--json", "--ip", "127.0.0.1", "--from", "a@bank.test", other)).stdout,
  );
  assert.deepEqual([refused.outcome, refused.spf, refused.dmarc], ["refuse", "fail", "fail"]);
  assert.deepEqual(refused.dkim, [{ result: "permerror", domain: "good.test" }, { result: "permerror" }]);
  assert.match(refused.reply, /^550 5\.7\.1 DMARC policy of bank\.test/);
  assert.equal((await check(other)).code, 64);
  assert.equal((await check(serving.workspace.file("missing.eml"))).code, 66);
});
