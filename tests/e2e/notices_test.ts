// What senders are told by a serve-out that runs by the real clock: success where it was asked for, delay, the end.
import assert from "node:assert/strict";
import { arrival, storedMessages } from "../support/peers/arrivals.ts";
import { startServeIn, startServeOut } from "../support/peers/mailapp.ts";
import { freePort } from "../support/peers/ports.ts";
import { Dialogue } from "../support/peers/raw_smtp.ts";

const SENDER = "alice@home.test";

interface Wishes {
  /** After MAIL FROM. */
  readonly mail?: string;
  /** After RCPT TO. */
  readonly rcpt?: string;
  readonly from?: string;
  readonly body?: string;
}

async function send(port: number, to: string, wishes: Wishes = {}): Promise<void> {
  const { mail = "", rcpt = "", from = SENDER, body = "secret body\r\n" } = wishes;
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  const dialogue = new Dialogue(connection);
  await dialogue.expect(220);
  await dialogue.say("EHLO raw.test", 250);
  await dialogue.say(`MAIL FROM:<${from}>${mail}`, 250);
  await dialogue.say(`RCPT TO:<${to}>${rcpt}`, 250);
  await dialogue.say("DATA", 354);
  await dialogue.say(`From: <${from}>\r\nSubject: to ${to}\r\n\r\n${body}.`, 250);
  await dialogue.say("QUIT", 221);
}

Deno.test("the sender is told of success where it was asked for, with the identifiers it gave", async () => {
  await using home = await startServeIn({ domains: ["home.test", "there.test"] });
  await using serveOut = await startServeOut({ routes: { "*": `127.0.0.1:${home.port}` } });
  // This one asks for nothing, and hears nothing.
  await send(serveOut.port, "bob@there.test");
  await send(serveOut.port, "alice@there.test", {
    mail: " RET=HDRS ENVID=QQ314159",
    rcpt: " NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Alice+40there.test",
  });
  const { text } = await arrival(home.maildir(SENDER), "multipart/report");
  assert.match(text, /^Original-Envelope-Id: QQ314159$/m);
  assert.match(text, /^Original-Recipient: rfc822; ?Alice@there\.test$/mi);
  assert.match(text, /^Final-Recipient: rfc822; ?alice@there\.test\nAction: relayed\nStatus: 2\./m);
  assert.match(text, /^Subject: to alice@there\.test$/m);
  assert.doesNotMatch(text, /secret body|bob@there/);
  assert.equal((await storedMessages(home.maildir(SENDER))).length, 1);
});

Deno.test("the sender is told once of a delay, and then of the end", async () => {
  await using home = await startServeIn({ domains: ["home.test"] });
  await using serveOut = await startServeOut({
    routes: { "home.test": `127.0.0.1:${home.port}`, "*": `127.0.0.1:${freePort()}` },
    settings: { retry: ["1s"], delay_notice_after: "2s", expire_after: "10s" },
  });
  // Told of nothing, whatever happens.
  await send(serveOut.port, "never@down.test", { rcpt: " NOTIFY=NEVER" });
  await send(serveOut.port, "bob@down.test");
  const delay = await arrival(home.maildir(SENDER), "Action: delayed");
  assert.match(delay.text, /^Status: 4\.4\.1$/m);
  assert.match(delay.text, /^Will-Retry-Until: /m);
  const end = await arrival(home.maildir(SENDER), "Action: failed");
  assert.match(end.text, /^Status: 4\.4\.7$/m);
  assert.match(end.text, /connection refused/);
  await serveOut.event("dsn.unwanted", { recipient: "never@down.test" });
  const told = await storedMessages(home.maildir(SENDER));
  assert.equal(told.filter(({ text }) => text.includes("Action: delayed")).length, 1);
  assert.equal(told.length, 2, "two notices in all");
  for (const { text } of told) assert.doesNotMatch(text, /never@down/);
});

Deno.test("a notice that is too large for the sender's server goes again with the header section alone", async () => {
  await using home = await startServeIn({ domains: ["home.test"], settings: { max_message_size: 20_000 } });
  await using there = await startServeIn({ domains: ["there.test"] });
  await using serveOut = await startServeOut({
    routes: { "home.test": `127.0.0.1:${home.port}`, "there.test": `127.0.0.1:${there.port}` },
  });
  const body = "secret body\r\n".repeat(3000);
  await send(serveOut.port, "nobody@there.test", { mail: " RET=FULL", body });
  const { text } = await arrival(home.maildir(SENDER), "multipart/report");
  assert.match(text, /^Final-Recipient: rfc822; nobody@there\.test$/m);
  assert.match(text, /^Content-Type: text\/rfc822-headers$/m);
  assert.match(text, /^Subject: to nobody@there\.test$/m);
  assert.match(text, /Its header section is attached below\./);
  assert.doesNotMatch(text, /secret body/);
  await serveOut.event("dsn.shortened", {});
  await serveOut.event("queue.done", {});
  assert.deepEqual(await storedMessages(home.maildir(SENDER)).then(({ length }) => length), 1);
});

Deno.test("what no notice can be sent about is held, and dropped when it is too old, each with an event", async () => {
  await using home = await startServeIn({ domains: ["home.test"] });
  await using serveOut = await startServeOut({
    routes: { "home.test": `127.0.0.1:${home.port}` },
    settings: { keep_undeliverable: "5s" },
  });
  await send(serveOut.port, "nobody@home.test", { from: "ghost@home.test" });
  await serveOut.event("dsn.held", { recipient: "ghost@home.test" });
  await serveOut.event("dsn.dropped", { reason: "too old" });
  await serveOut.event("queue.done", {});
});
