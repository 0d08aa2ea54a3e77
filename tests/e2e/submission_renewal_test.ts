import assert from "node:assert/strict";
import { HOSTNAME, SubmissionMachine } from "../support/submission.ts";
import { createTestAuthority } from "../support/test_authority.ts";
import { WireClient } from "../support/wire_client.ts";

Deno.test("serve-submit takes a renewed certificate, and a session that was open goes on", async () => {
  await using machine = await SubmissionMachine.create();
  await using serveOut = await machine.start("serve-out");
  await using serveSubmit = await machine.start("serve-submit");
  using open = await machine.login();
  assert.match(await open.say("MAIL FROM:<alice@example.com>"), /^250 /);
  assert.match(await open.say("RCPT TO:<bob@example.com>"), /^250 /);
  assert.match(await open.say("DATA"), /^354 /);
  await open.send("From: alice@example.com\r\nSubject: renewed meanwhile\r\n");

  const authority = await createTestAuthority("another authority");
  const { cert, key } = await authority.issue({ names: [HOSTNAME, "127.0.0.1"] });
  await Deno.writeTextFile(machine.workspace.file("cert.pem"), cert);
  await Deno.writeTextFile(machine.workspace.file("key.pem"), key);
  serveSubmit.signal("SIGHUP");
  await serveSubmit.event("config.reloaded");
  const { tlsPort: port } = machine;
  using renewed = new WireClient(
    await Deno.connectTls({ hostname: "127.0.0.1", port, caCerts: [authority.cert] }),
  );
  assert.match(await renewed.hear(), /^220 /);

  await open.send("\r\nHello\r\n.\r\n");
  const [, id] = /^250 2\.0\.0 (\S+) accepted\r\n$/.exec(await open.hear()) ?? [];
  assert.ok(id);
  await serveOut.event("message.accepted", { where: { id } });
  assert.match(await open.say("QUIT"), /^221 /);
  assert.equal(await serveSubmit.stop(), 0);
});
