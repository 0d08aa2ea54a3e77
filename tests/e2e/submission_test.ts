// serve-submit as it runs: from a mail program's login to the mailbox, by way of serve-out and serve-in.
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { FakeDns, type FakeDnsReply, soa } from "../support/fake_dns.ts";
import { RunningMailapp, Workspace } from "../support/mailapp.ts";
import { SubmissionMachine } from "../support/submission.ts";

const MESSAGE =
  "From: Alice <alice@example.com>\r\nTo: bob@example.com\r\nSubject: hello\r\n\r\nHello\r\n.\r\n";

Deno.test("mail of who has logged in goes through serve-out to the mailbox, and does not say where it came from", async () => {
  await using machine = await SubmissionMachine.create();
  await using serveIn = await machine.start("serve-in");
  await using serveOut = await machine.start("serve-out");
  await using serveSubmit = await machine.start("serve-submit");
  for (const hostname of ["127.0.0.1", "::1"]) {
    using client = await machine.login("alice@example.com", hostname);
    assert.match(await client.say("MAIL FROM:<alice@example.com>"), /^250 2\.1\.0 /);
    assert.match(await client.say("RCPT TO:<bob@example.com>"), /^250 2\.1\.5 /);
    assert.match(await client.say("DATA"), /^354 /);
    await client.send(MESSAGE);
    const [, queueId] = /^250 2\.0\.0 (\S+) accepted\r\n$/.exec(await client.hear()) ?? [];
    assert.ok(queueId);
    assert.match(await client.say("QUIT"), /^221 /);
    const accepted = await serveSubmit.event("message.accepted", { where: { queue_id: queueId } });
    assert.equal(accepted["login"], "alice@example.com");
    await serveOut.event("message.accepted", { where: { id: queueId } });
    const delivered = await serveIn.event("message.delivered", {
      after: hostname === "::1" ? 1 : 0,
      where: { mailbox: "bob@example.com" },
    });
    const text = await Deno.readTextFile(String(delivered["file"]));
    assert.match(text, /^Return-Path: <alice@example\.com>\n/);
    assert.match(
      text,
      /\nReceived: by mx\.example\.com with ESMTPSA \(TLSv1\.3 [^)]+\)\n\tid \w+\n\tfor <bob@example\.com>; /,
    );
    assert.doesNotMatch(text, /client\.test/);
    assert.ok(text.endsWith("\n\nHello\n"), text);
  }
  assert.equal(await serveSubmit.stop(), 0);
});

Deno.test("with show_client_address the name and the address of the client stand in Received", async () => {
  await using machine = await SubmissionMachine.create({
    changes: { "serve-submit": { show_client_address: true } },
  });
  await using serveIn = await machine.start("serve-in");
  await using _serveOut = await machine.start("serve-out");
  await using _serveSubmit = await machine.start("serve-submit");
  for (const [after, hostname] of ["127.0.0.1", "::1"].entries()) {
    using client = await machine.login("alice@example.com", hostname);
    await client.say("MAIL FROM:<alice@example.com>");
    await client.say("RCPT TO:<bob@example.com>");
    await client.say("DATA");
    await client.send(MESSAGE);
    assert.match(await client.hear(), /^250 2\.0\.0 /);
    const delivered = await serveIn.event("message.delivered", {
      after,
      where: { mailbox: "bob@example.com" },
    });
    const text = await Deno.readTextFile(String(delivered["file"]));
    const address = hostname === "::1" ? "IPv6:::1" : hostname;
    assert.match(
      text.replace(/\n[ \t]+/g, " "),
      new RegExp(
        `^Received: from client\\.test \\(\\[${
          RegExp.escape(address)
        }\\]\\) by mx\\.example\\.com with ESMTPSA `,
        "m",
      ),
    );
  }
});

Deno.test("a stranger who asks for a SCRAM salt before and after a restart cannot tell an unknown login from a known one", async () => {
  await using machine = await SubmissionMachine.create();
  const salts = async () => {
    await using _serveSubmit = await machine.start("serve-submit");
    return await Promise.all(["alice", "nobody"].map(async (user) => {
      using client = await machine.connect();
      const reply = await client.say(`AUTH SCRAM-SHA-256 ${btoa(`n,,n=${user}@example.com,r=abc`)}`);
      const [, challenge = ""] = /^334 (\S+)\r\n$/.exec(reply) ?? [];
      const [, salt] = /,s=([^,]+),i=\d+$/.exec(atob(challenge)) ?? [];
      assert.ok(salt, reply);
      return salt;
    }));
  };
  const before = await salts();
  assert.deepEqual(await salts(), before);
  assert.notEqual(before[0], before[1]);
});

/** What another host asks DNS about mail of example.com. */
function zone(dkim: string): Record<string, FakeDnsReply> {
  const texts = {
    "example.com": "v=spf1 ip4:127.0.0.1 -all",
    "_dmarc.example.com": "v=DMARC1; p=reject; aspf=s; adkim=s",
    "s1._domainkey.example.com": dkim,
  };
  return Object.fromEntries(
    Object.entries(texts).map(([name, text]) => [
      `${name} TXT`,
      { answers: [{ name, type: "TXT", ttl: 60, data: [text] }], authorities: [soa("example.com")] },
    ]),
  );
}

Deno.test("what people send leaves signed, and another host finds spf, dkim and dmarc to pass; a forged sender never gets there", async () => {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const raw = publicKey.export({ type: "spki", format: "der" }).subarray(-32).toString("base64");
  await using dns = await FakeDns.start(zone(`v=DKIM1; k=ed25519; p=${raw}`));
  await using there = await Workspace.create();
  const config = await there.configure({
    "": { hostname: "mx.there.test", data_dir: there.file("state") },
    "serve-in": { domains: ["there.test"] },
    "serve-in.checks": { spf: true, dkim: true, arc: true, dmarc: "enforce" },
    dns: { servers: [dns.server] },
  });
  await using receiver = new RunningMailapp(["serve-in", "--config", config]);
  const { port } = await receiver.event("listener.ready");
  const key = there.file("dkim.pem");
  await Deno.writeTextFile(key, String(privateKey.export({ type: "pkcs8", format: "pem" })), { mode: 0o600 });
  await using machine = await SubmissionMachine.create({
    changes: {
      "serve-out.routes": { "there.test": `127.0.0.1:${port}` },
      dkim: { "example.com": { selector: "s1", key } },
    },
  });
  await using _serveOut = await machine.start("serve-out");
  await using _serveSubmit = await machine.start("serve-submit");
  using client = await machine.login();
  const send = async (sender: string, author: string) => {
    await client.say(`MAIL FROM:<${sender}>`);
    await client.say("RCPT TO:<alice@there.test>");
    await client.say("DATA");
    await client.send(`From: ${author}\r\nSubject: x\r\n\r\nHello\r\n.\r\n`);
    return await client.hear();
  };
  assert.match(
    await send("alice@example.com", "bob@example.com"),
    /^550 5\.7\.1 <bob@example\.com> is not an address of/,
  );
  assert.match(await send("alice+shop@example.com", "alice@example.com"), /^250 2\.0\.0 /);
  const delivered = await receiver.event("message.delivered");
  const text = await Deno.readTextFile(String(delivered["file"]));
  const [, results = ""] = /^Authentication-Results: ([^]*?)\n(?![ \t])/m.exec(text) ?? [];
  for (const expected of [/\bspf=pass\b/, /\bdkim=pass\b/, /\bdmarc=pass\b/]) assert.match(results, expected);
  assert.equal(receiver.events.filter(({ event }) => event === "message.delivered").length, 1);
});
