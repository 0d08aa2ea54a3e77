// serve-submit as it runs: from a mail program's login to the mailbox, by way of serve-out and serve-in.
import assert from "node:assert/strict";
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
