import assert from "node:assert/strict";
import { allMetrics } from "../base/counters.ts";
import { writeMetrics } from "../observe/metrics_text.ts";
import { Dialogue } from "../tests/support/server_dialogue.ts";

Deno.test("each refused attempt is logged at info, the default level", async () => {
  await using dialogue = new Dialogue();
  await dialogue.say("MAIL TO: a@b\r\nNONSENSE\r\nplain\nEHLO c.test\r\nMAIL FROM:<a@c.test>\r\n");
  await dialogue.say("RCPT TO:<nobody@here.example>\r\nDATA\r\n");
  assert.deepEqual(
    dialogue.log.named("command.refused").map(({ level, fields }) => [level, fields["command"]]),
    [
      ["info", "MAIL TO: a@b"],
      ["info", "NONSENSE"],
      ["info", "plain"],
      ["info", "RCPT TO:<nobody@here.example>"],
      ["info", "DATA"],
    ],
  );
});

/** Commands of which each is refused, with a reply that counts as no error of the client. */
const REFUSED = {
  "RCPT beyond the limit": {
    before: "MAIL FROM:<a@c.test>\r\nRCPT TO:<bob@here.example>\r\n",
    again: "RCPT TO:<alice@here.example>\r\n",
  },
  "MAIL of a message that is too big": { before: "", again: "MAIL FROM:<a@c.test> SIZE=2000\r\n" },
  "MAIL without room for it": { before: "", again: "MAIL FROM:<no-room@c.test>\r\n" },
  "a full mailbox": { before: "MAIL FROM:<a@c.test>\r\n", again: "RCPT TO:<full@here.example>\r\n" },
  "a mailbox that cannot be looked up": {
    before: "MAIL FROM:<a@c.test>\r\n",
    again: "RCPT TO:<broken@here.example>\r\n",
  },
  "a message that cannot be stored": {
    before: "",
    again: "MAIL FROM:<a@c.test>\r\nRCPT TO:<no-commit@here.example>\r\nDATA\r\nx\r\n.\r\n",
  },
  "a chunk that is too big": {
    before: "",
    again: "MAIL FROM:<a@c.test>\r\nRCPT TO:<bob@here.example>\r\nBDAT 2000\r\n" + "x".repeat(2000),
  },
};

for (const [what, { before, again }] of Object.entries(REFUSED)) {
  Deno.test(`a session is ended after too many refusals, and its log is short: ${what}`, async () => {
    await using dialogue = new Dialogue({
      limits: { maxRefusals: 150, maxRecipients: 1, maxMessageSize: 1000, maxErrors: 10 },
    });
    await dialogue.say(`EHLO c.test\r\n${before}`);
    let refused = 0;
    for (let said = ""; !said.includes("\r\n421 ") && refused < 1000;) {
      said = `\r\n${await dialogue.say(again)}`;
      const refusals = said.match(/\r\n[45]\d\d /g)?.length ?? 0;
      refused += refusals - (said.includes("\r\n421 ") ? 1 : 0);
      assert.ok(refusals > 0, said);
      if (said.includes("\r\n421 ")) assert.match(said, /\r\n421 4\.7\.0 Too many refusals; goodbye\r\n$/);
    }
    assert.equal(refused, 151);
    await dialogue.clock.advance(10_000);
    await dialogue.done;
    assert.equal(dialogue.reason, "too many refusals");
    assert.equal(dialogue.log.named("session.closed")[0]?.fields["refusals"], 151);
    assert.ok(dialogue.log.named("command.refused").length <= 100);
    assert.ok(dialogue.log.named("command.failed").length <= 100);
  });
}

Deno.test("a program may name ten times as many recipients as a message takes, and keeps those that were taken", async () => {
  await using dialogue = new Dialogue({ limits: { maxRefusals: 10, maxRecipients: 100 } });
  await dialogue.say("EHLO c.test\r\nMAIL FROM:<a@c.test>\r\n");
  const said = await dialogue.say("RCPT TO:<alice@here.example>\r\n".repeat(1000));
  assert.equal(said.match(/^250 /gm)?.length, 100);
  assert.equal(said.match(/^452 4\.5\.3 /gm)?.length, 900);
  assert.match(await dialogue.say("DATA\r\nx\r\n.\r\n"), /^354 [^]*\r\n250 /);
});

Deno.test("the log says whose message did not arrive: refused, or left unfinished", async () => {
  const dialogue = new Dialogue();
  {
    await using _ended = dialogue;
    await dialogue.say(
      "EHLO client.test\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<nobody@here.example>\r\nRSET\r\n",
    );
    await dialogue.toData();
    await dialogue.say("Subject: x\r\n");
  }
  const [refused] = dialogue.log.named("command.refused");
  assert.equal(refused?.fields["from"], "a@client.test");
  const [closed] = dialogue.log.named("session.closed");
  assert.equal(closed?.fields["reason"], "closed by the peer in mid-data");
  assert.deepEqual([closed?.fields["from"], closed?.fields["to"]], ["a@client.test", ["alice@here.example"]]);
});

Deno.test("what is refused to a test by this machine says so in the log, and is in no metric", async () => {
  const counted = () =>
    writeMetrics(allMetrics(), "prometheus").split("\n")
      .filter((line) => line.startsWith("mailapp_smtp_refused_commands_total")).join("\n");
  for (const [name, probe] of [["doctor.probe.localhost", "doctor"], ["c.test", undefined]] as const) {
    await using dialogue = new Dialogue({ remoteAddress: "127.0.0.1" });
    const before = counted();
    await dialogue.say(`EHLO ${name}\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<nobody@here.example>\r\nQUIT\r\n`);
    await dialogue.clock.advance(10_000);
    await dialogue.done;
    for (const event of ["command.refused", "session.closed"]) {
      assert.equal(dialogue.log.named(event)[0]?.fields["probe"], probe);
    }
    assert.equal(counted() === before, probe !== undefined);
  }
});
