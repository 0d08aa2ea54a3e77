// The engine on real sockets: what a pipe in memory cannot show.
import assert from "node:assert/strict";
import { settle } from "../support/fake_clock.ts";
import { Served } from "../support/served.ts";

Deno.test("a message arrives over IPv4 and IPv6", async () => {
  await using served = new Served();
  for (const hostname of ["127.0.0.1", "::1"]) {
    const client = await served.connect(served.port({ hostname }), hostname);
    assert.match(await client.hear(), /^220 /);
    assert.match(await client.say("EHLO client.test"), /^250-/);
    assert.match(await client.say("MAIL FROM:<a@client.test>"), /^250 /);
    assert.match(await client.say("RCPT TO:<alice@here.example>"), /^250 /);
    assert.match(await client.say("DATA"), /^354 /);
    assert.match(await client.say("Subject: x\r\n\r\nhi\r\n."), /^250 2.0.0 M\d /);
    assert.match(await client.say("QUIT"), /^221 /);
    assert.equal(await client.rest(), "");
  }
  assert.equal(served.delivery.stored.length, 2);
  const [v4, v6] = served.delivery.stored.map(({ headers }) => headers[0]?.value ?? "");
  assert.match(v4 ?? "", /^from client.test \(\[127\.0\.0\.1\]\)/);
  assert.match(v6 ?? "", /^from client.test \(\[IPv6:::1\]\)/);
});

Deno.test("a client that never reads is closed by its deadline, and others are served meanwhile (case 33)", async () => {
  await using served = new Served();
  const port = served.port();
  const deaf = await served.connect(port);
  let sent = 0;
  let over: unknown;
  const flooding = (async () => {
    const burst = "HELP\r\n".repeat(1000);
    for (;;) {
      await deaf.send(burst);
      sent += burst.length;
    }
  })().catch((error) => over = error);
  // Both sides' buffers are full when nothing moves any more. The server goes on long after the client has to wait,
  // since the kernel wakes a writer only when there is much room.
  const moved = () => sent + served.log.events.length;
  for (let before = -1, still = 0; still < 20;) {
    await settle();
    still = moved() === before ? still + 1 : 0;
    before = moved();
  }
  const client = await served.connect(port);
  assert.match(await client.hear(), /^220 /);
  assert.match(await client.say("EHLO client.test"), /^250-/);
  await served.clock.advance(299_000);
  assert.match(await client.say("NOOP"), /^250 /);
  await served.clock.advance(2_000);
  const { fields } = await served.log.saw("session.closed");
  assert.equal(fields["reason"], "timeout");
  await flooding;
  assert.ok(over instanceof Error);
  assert.match(await client.say("NOOP"), /^250 /);
});

Deno.test("a reset in mid-data leaves nothing behind", async () => {
  await using served = new Served();
  const client = await served.connect(served.port());
  await client.send(
    "EHLO client.test\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<alice@here.example>\r\nDATA\r\nSubject: x\r\n",
  );
  for (const code of [/^220 /, /^250-/, /^250 /, /^250 /]) assert.match(await client.hear(), code);
  await settle();
  // With the 354 unread, closing is a reset.
  client.close();
  const { fields } = await served.log.saw("session.closed");
  assert.match(String(fields["reason"]), /^connection lost \(ECONNRESET\)$|^closed by the peer in mid-data$/);
  assert.deepEqual(served.delivery.stored, []);
});

Deno.test("a client that closes its side gets the replies to what it has sent", async () => {
  await using served = new Served();
  const client = await served.connect(served.port());
  await client.send(
    "EHLO client.test\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<alice@here.example>\r\nDATA\r\nhi\r\n.\r\n",
  );
  await client.end();
  assert.match(
    await client.rest(),
    /^220 .*\r\n(?:250.*\r\n)+354 .*\r\n250 2\.0\.0 M1 accepted\r\n$/,
  );
  assert.equal(served.delivery.stored.length, 1);
});

Deno.test("half-closed in mid-data is not the end of the data", async () => {
  await using served = new Served();
  const client = await served.connect(served.port());
  await client.send(
    "HELO client.test\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<alice@here.example>\r\nDATA\r\nhi\r\n.\r",
  );
  await client.end();
  assert.match(await client.rest(), /354 .*\r\n$/);
  assert.equal((await served.log.saw("session.closed")).fields["reason"], "closed by the peer in mid-data");
  assert.deepEqual(served.delivery.stored, []);
});

for (
  const [what, sent] of [
    ["before any command", ""],
    ["within a command", "EHLO client.te"],
    ["within a transaction", "EHLO c.test\r\nMAIL FROM:<a@c.test>\r\n"],
    ["within the data", "EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<bob@here.example>\r\nDATA\r\nx\r\n"],
    ["within a chunk", "EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<bob@here.example>\r\nBDAT 9\r\nx"],
  ] as const
) {
  Deno.test(`silence ${what} is told 421 and closed (case 32)`, async () => {
    await using served = new Served();
    const client = await served.connect(served.port());
    assert.match(await client.hear(), /^220 /);
    await client.send(sent);
    for (let replies = sent.split("\r\n").length - 1; replies > 0; replies--) {
      if (/^354/.test(await client.hear())) break;
      if (what === "within a chunk" && replies === 2) break;
    }
    await settle();
    await served.clock.advance(299_000);
    await served.clock.advance(1_000);
    assert.equal(await client.rest(), "421 4.4.2 Timeout; goodbye\r\n");
    assert.deepEqual(served.delivery.stored, []);
  });
}

Deno.test("a command that comes a byte at a time has one deadline for all of it (case 32)", async () => {
  await using served = new Served();
  const client = await served.connect(served.port());
  assert.match(await client.hear(), /^220 /);
  for (const byte of "NOOP") {
    await client.send(byte);
    await settle();
    await served.clock.advance(60_000);
  }
  await served.clock.advance(60_000);
  assert.equal(await client.rest(), "421 4.4.2 Timeout; goodbye\r\n");
});

Deno.test("data that trickles in is ended by the minimum rate, however steady it is (case 32)", async () => {
  await using served = new Served({ limits: { idleTimeout: 60_000, minDataRate: 100 } });
  const client = await served.connect(served.port());
  await client.send("EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<bob@here.example>\r\nDATA\r\n");
  for (const code of [/^220 /, /^250-/, /^250 /, /^250 /, /^354 /]) assert.match(await client.hear(), code);
  let seconds = 0;
  while (served.log.named("session.closed").length === 0) {
    await client.send("xxxxxxxxxx").catch(() => {});
    await settle();
    await served.clock.advance(1000);
    assert.ok(++seconds < 90, "it goes on and on");
  }
  // A minute for nothing, and a tenth of a second for each ten octets.
  assert.ok(seconds >= 60);
  assert.equal(await client.rest(), "421 4.4.2 Timeout; goodbye\r\n");
});

Deno.test("a flood from one address is told 421, and others are served (case 34)", async () => {
  await using served = new Served({ limits: { maxConnectionsPerIp: 5, maxConnections: 100 } });
  const port = served.port();
  const other = served.port({ hostname: "::1" });
  const flood = await Promise.all(Array.from({ length: 40 }, () => served.connect(port)));
  const greetings = await Promise.all(flood.map((client) => client.hear()));
  assert.equal(greetings.filter((text) => text.startsWith("220 ")).length, 5);
  assert.equal(greetings.filter((text) => text.startsWith("421 4.7.0 ")).length, 35);
  const client = await served.connect(other, "::1");
  assert.match(await client.hear(), /^220 /);
  // Places that become free are given away again.
  for (const client of flood) client.close();
  await served.log.saw("session.closed", 5);
  assert.match(await (await served.connect(port)).hear(), /^220 /);
});

Deno.test("the cap of all connections holds over several listeners (case 34)", async () => {
  await using served = new Served({ limits: { maxConnections: 3 } });
  const [port, other] = [served.port(), served.port({ hostname: "::1" })];
  const clients = [];
  for (let i = 0; i < 3; i++) {
    const client = await served.connect(port);
    assert.match(await client.hear(), /^220 /);
    clients.push(client);
  }
  assert.match(await (await served.connect(other, "::1")).hear(), /^421 4\.3\.2 /);
  clients[0]?.close();
  await served.log.saw("session.closed");
  assert.match(await (await served.connect(other, "::1")).hear(), /^220 /);
});

Deno.test("who talks before the greeting is answered in order (case 17)", async () => {
  await using served = new Served();
  const client = await served.connect(served.port());
  await client.send("HELO client.test\r\nMAIL FROM:<a@client.test>\r\nQUIT\r\n");
  assert.match(await client.rest(), /^220 .*\r\n250 mx.*\r\n250 2.1.0 .*\r\n221 2.0.0 .*\r\n$/);
});

Deno.test("last words arrive, although more was sent than was read (case 11)", async () => {
  await using served = new Served();
  const client = await served.connect(served.port());
  await client.send(`POST / HTTP/1.1\r\n${"x".repeat(100_000)}`);
  await client.end();
  assert.match(await client.rest(), /^220 .*\r\n521 5\.5\.1 .*\r\n$/);
});

Deno.test("shutdown() tells idle clients, on every listener, and refuses new ones", async () => {
  await using served = new Served();
  const [port, other] = [served.port(), served.port({ hostname: "::1" })];
  const clients = [await served.connect(port), await served.connect(other, "::1")];
  for (const client of clients) assert.match(await client.hear(), /^220 /);
  await settle();
  await served.server.shutdown({ grace: 10_000 });
  for (const client of clients) assert.match(await client.rest(), /^421 4\.3\.2 /);
  await assert.rejects(served.connect(port), Deno.errors.ConnectionRefused);
});
