// What happens to a message, by what a real named says about its domain: the whole server, and the sender's mailbox.
import assert from "node:assert/strict";
import { arrival } from "../support/peers/arrivals.ts";
import { FAILING, startBind } from "../support/peers/bind.ts";
import { startServeIn, startServeOut } from "../support/peers/mailapp.ts";
import { freePort } from "../support/peers/ports.ts";
import { sendRaw } from "../support/peers/raw_smtp.ts";
import { testWith } from "../support/requires.ts";

const HOME = "@ MX 10 mx\nmx A 127.0.0.1";
const SENDER = "alice@home.test";

async function send(port: number, to: string): Promise<void> {
  const data = new TextEncoder().encode(`From: <${SENDER}>\r\nSubject: to ${to}\r\n\r\nHello.\r\n`);
  await sendRaw({ port, from: SENDER, to: [to], data });
}

testWith(["named"], "domains without a way for mail: the sender is told at once why", async (t) => {
  await using dns = await startBind({
    "home.test": HOME,
    "null.test": "@ MX 0 .\n@ A 127.0.0.1",
    "self.test": "@ MX 10 out.example.test.",
    "text.test": "@ TXT hello",
  });
  await using home = await startServeIn({ domains: ["home.test"] });
  await using serveOut = await startServeOut({ dnsPort: dns.port, settings: { smtp_port: home.port } });
  for (
    const [domain, status, why] of [
      ["null.test", "5.1.10", /takes no mail|null MX/],
      ["no-such-name.home.test", "5.1.2", /no-such-name\.home\.test/],
      ["self.test", "5.4.6", /out\.example\.test/],
      ["text.test", "5.4.4", /text\.test/],
    ] as const
  ) {
    await t.step(`${domain}: ${status}`, async () => {
      await send(serveOut.port, `x@${domain}`);
      const failed = await serveOut.event("attempt.failed", { recipient: `x@${domain}` });
      assert.equal(failed["status"], status);
      const { text } = await arrival(home.maildir(SENDER), `Final-Recipient: rfc822; x@${domain}`);
      assert.match(text, /^Return-Path: <>$/m);
      assert.match(text, new RegExp(`^Action: failed\nStatus: ${status.replaceAll(".", "\\.")}$`, "m"));
      assert.match(text, why);
      assert.match(text, new RegExp(`^Subject: to x@${domain}$`, "m"));
    });
  }
});

testWith(["named"], "a domain that DNS cannot tell about waits, and leaves unaided when it can", async () => {
  const port = freePort();
  await using home = await startServeIn({ domains: ["mended.test", "refused.test"] });
  await using serveOut = await startServeOut({
    dnsPort: port,
    settings: { smtp_port: home.port, retry: ["1s"] },
  });
  const to = ["alice@mended.test", "bob@refused.test"];
  {
    // SERVFAIL for the one, REFUSED for the other, which this named does not have.
    await using _dns = await startBind({ "mended.test": FAILING }, { port });
    for (const address of to) {
      await send(serveOut.port, address);
      const deferred = await serveOut.event("attempt.deferred", { recipient: address, attempts: 2 });
      assert.equal(deferred["status"], "4.4.3");
    }
  }
  await using _dns = await startBind({ "mended.test": HOME, "refused.test": HOME }, { port });
  for (const address of to) {
    await serveOut.event("attempt.relayed", { recipient: address });
    await arrival(home.maildir(address), `Subject: to ${address}`);
  }
});
