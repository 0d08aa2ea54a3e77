import assert from "node:assert/strict";
import type { Script } from "../tests/support/fake_server.ts";
import {
  brief,
  message,
  outcome,
  PIPELINING,
  PLAIN,
  ready,
  setUp,
  TIMEOUTS,
} from "../tests/support/smtp_client.ts";

for (
  const [script, expected] of [
    // The second reply to MAIL would be taken for the one to RCPT, that one's for DATA's, and so on to the dot's.
    [
      { MAIL: { raw: "250 ok\r\n250 ok\r\n" }, RCPT: "354 go on", DATA: "250 ok", dot: "450 later" },
      "lost rcpt",
    ],
    [{ RCPT: { raw: "250 ok\r\n354 go on\r\n" }, DATA: "250 ok", dot: "450 later" }, "lost data"],
    [{ DATA: { raw: "354 go on\r\n250 ok\r\n" }, dot: "450 later" }, "lost data"],
  ] as const
) {
  Deno.test(`SmtpClient.send() does not believe replies that nothing asked for: ${JSON.stringify(script)}`, async () => {
    const { client, server } = await ready(script, PLAIN);
    assert.deepEqual(await outcome(client), [`${expected} malformed`, "closed"]);
    assert.deepEqual(server.messages, []);
  });
}

Deno.test("SmtpClient.send() pipelines MAIL, RCPT and DATA in one write, and many recipients in bounded batches", async () => {
  const { client, server } = await ready({}, PIPELINING);
  await outcome(client, { recipients: [{ address: "x@t" }, { address: "y@t" }] });
  assert.equal(server.writes[1], "MAIL FROM:<a@client.test>\r\nRCPT TO:<x@t>\r\nRCPT TO:<y@t>\r\nDATA\r\n");
  const recipients = Array.from({ length: 250 }, (_, i) => ({ address: `u${i}@t` }));
  assert.equal(
    (await client.send(message({ recipients }))).recipients.every(({ kind }) => kind === "relayed"),
    true,
  );
  const batches = server.writes.slice(3, 6).map((write) => write.split("\r\n").length - 1);
  assert.deepEqual(batches, [101, 100, 51]);
  assert.equal(server.messages[1]?.to.length, 250);
  await client.quit();
});

Deno.test("SmtpClient sends one command at a time, and HELO at once, where that is wanted", async () => {
  const { client, server } = setUp({}, PIPELINING, { pipelining: false });
  await client.greeting();
  await client.hello();
  assert.deepEqual(await outcome(client), ["relayed 250", "usable"]);
  assert.deepEqual(server.writes.slice(0, 4), [
    "EHLO client.test\r\n",
    "MAIL FROM:<a@client.test>\r\n",
    "RCPT TO:<x@fake.test>\r\n",
    "DATA\r\n",
  ]);
  const plain = setUp({}, PIPELINING, { ehlo: false });
  await plain.client.greeting();
  assert.equal((await plain.client.hello()).code, 250);
  assert.deepEqual(plain.server.commands, ["(connected)", "HELO client.test"]);
  assert.equal(plain.client.capabilities.esmtp, false);
});

Deno.test("SmtpClient.send() says where the replies to a group of commands were lost", async () => {
  const cases: readonly (readonly [Script, boolean])[] = [
    [{ MAIL: "drop" }, true],
    [{ RCPT: "drop" }, true],
    [{ DATA: "drop" }, true],
    [{ RCPT: { raw: "what?\r\n" } }, true],
    [{ dot: "drop" }, false],
    [{ MAIL: "421 4.3.2 no" }, false],
    [{ RCPT: "550 5.1.1 no" }, false],
    [{}, false],
  ];
  for (const [script, lost] of cases) {
    const { client } = await ready(script, PIPELINING);
    assert.equal((await client.send(message())).groupLost, lost, JSON.stringify(script));
    const single = await ready(script, PLAIN);
    assert.equal((await single.client.send(message())).groupLost, false);
  }
});

Deno.test("SmtpClient.send() takes no refusal of DATA for one of a recipient where RCPT was lost", async () => {
  for (const lost of ["503 5.5.1 RCPT first", "500 5.5.2 what?"]) {
    const { client, clock } = await ready({ RCPT: lost, DATA: "stall" }, PIPELINING);
    const sent = client.send(message());
    await clock.advance(TIMEOUTS.data);
    const { recipients, groupLost } = await sent;
    assert.deepEqual([...recipients.map(brief), groupLost], ["lost data timeout", true]);
  }
  const { client } = await ready({ RCPT: "550 5.1.1 nobody", DATA: "drop" }, PIPELINING);
  const { recipients, groupLost } = await client.send(message());
  assert.deepEqual([...recipients.map(brief), groupLost], ["refused rcpt 550", true]);
});

Deno.test("SmtpClient.send() takes a server that refuses a group and hangs up as one that lost the group", async () => {
  for (const MAIL of ["503 5.5.1 improper pipelining", "500 5.5.2 one at a time", "502 what?"]) {
    const { client } = await ready({ MAIL, RCPT: "drop" }, PIPELINING);
    const { recipients, groupLost } = await client.send(message());
    assert.deepEqual([...recipients.map(brief), groupLost], ["lost rcpt closed", true], MAIL);
    const single = await ready({ MAIL, RCPT: "drop" }, PLAIN);
    assert.deepEqual((await single.client.send(message())).recipients.map(brief), [
      `refused mail ${MAIL.slice(0, 3)}`,
    ]);
  }
  for (const [MAIL, RCPT] of [["550 5.7.1 not you", "drop"], ["503 5.5.1 no", "503 5.5.1 no"]] as const) {
    const { client } = await ready({ MAIL, RCPT, DATA: RCPT }, PIPELINING);
    const { recipients, groupLost } = await client.send(message());
    assert.deepEqual(recipients.map(brief), [`refused mail ${MAIL.slice(0, 3)}`]);
    assert.equal(groupLost, false);
  }
});

Deno.test("SmtpClient.send() tells a 421 at once from one after a silence in a group", async () => {
  for (const [wait, lost] of [[0, false], [60_000, true]] as const) {
    const { client, clock, server } = await ready({ RCPT: "stall" }, PIPELINING);
    const sent = client.send(message());
    await clock.advance(wait);
    server.say("421 4.4.2 idle for too long");
    const { recipients, groupLost } = await sent;
    assert.deepEqual([...recipients.map(brief), groupLost], ["refused rcpt 421", lost]);
  }
});
