// STARTTLS and implicit TLS on real sockets: injection, garbage, silence (behaviour.md, cases 10 and 12 to 16).
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { Duplex } from "node:stream";
import { connect as connectTls, createSecureContext } from "node:tls";
import { serverUpgrade } from "../../tls/server_upgrade.ts";
import { createTestAuthority } from "../support/test_authority.ts";
import { settle } from "../support/fake_clock.ts";
import { Served } from "../support/served.ts";
import type { WireClient } from "../support/wire_client.ts";

const HOSTNAME = "mx.here.example";
const authority = await createTestAuthority();
const secureContext = createSecureContext(await authority.issue({ names: [HOSTNAME] }));
const upgradeToTls = serverUpgrade({ certificates: { secureContext } });
const trust = { hostname: HOSTNAME, caCerts: [authority.cert] };

/** A client that has said EHLO in plaintext. */
async function greeted(served: Served, port = served.port()): Promise<WireClient> {
  const client = await served.connect(port);
  assert.match(await client.hear(), /^220 /);
  assert.match(await client.say("EHLO client.test"), /\r\n250-STARTTLS\r\n/);
  return client;
}

async function deliver(client: WireClient): Promise<void> {
  assert.doesNotMatch(await client.say("EHLO client.test"), /STARTTLS/);
  assert.match(await client.say("MAIL FROM:<a@client.test>"), /^250 /);
  assert.match(await client.say("RCPT TO:<alice@here.example>"), /^250 /);
  assert.match(await client.say("DATA"), /^354 /);
  assert.match(await client.say("Subject: x\r\n\r\nhi\r\n."), /^250 2.0.0 M\d /);
}

Deno.test("a message arrives over STARTTLS, and the session starts over after it (case 13)", async () => {
  await using served = new Served({ upgradeToTls });
  const client = await greeted(served);
  assert.match(await client.say("MAIL FROM:<before@client.test>"), /^250 /);
  assert.match(await client.say("STARTTLS"), /^503 /);
  assert.match(await client.say("RSET"), /^250 /);
  assert.match(await client.say("STARTTLS"), /^220 /);
  await client.startTls(trust);
  assert.match(await client.say("MAIL FROM:<a@client.test>"), /^503 5.5.1 Say EHLO/);
  await deliver(client);
  assert.match(await client.say("STARTTLS"), /^503 /);
  assert.match(await client.say("QUIT"), /^221 /);
  assert.equal(await client.rest(), "");
  const [message] = served.delivery.stored;
  assert.match(message?.headers[0]?.value ?? "", /with ESMTPS \(TLSv1\.3 TLS_\w+\)/);
});

Deno.test("a message arrives over implicit TLS", async () => {
  await using served = new Served({ upgradeToTls });
  const client = await served.connect(served.port({ implicitTls: true }));
  await client.startTls(trust);
  assert.match(await client.hear(), /^220 /);
  await deliver(client);
  assert.equal(served.delivery.stored.length, 1);
});

Deno.test("plaintext in one write with STARTTLS is dropped (CVE-2011-0411, case 12)", async () => {
  await using served = new Served({ upgradeToTls });
  const client = await greeted(served);
  await client.send("STARTTLS\r\nEHLO injected.test\r\nMAIL FROM:<injected@client.test>\r\n");
  assert.match(await client.hear(), /^220 /);
  await client.startTls(trust);
  assert.match(await client.say("RCPT TO:<alice@here.example>"), /^503 5.5.1 Say MAIL/);
  assert.match(await client.say("MAIL FROM:<a@client.test>"), /^503 5.5.1 Say EHLO/);
  await deliver(client);
  assert.equal(served.log.named("tls.plaintext_discarded")[0]?.fields["octets"], 54);
});

Deno.test("plaintext after the 220, or split over packets, runs nothing and ends the session (case 12)", async () => {
  for (
    const parts of [
      ["STARTTLS\r\n", "EHLO injected.test\r\n"],
      ["START", "TLS\r\n", "EHLO injec", "ted.test\r\nMAIL FROM:<injected@client.test>\r\n"],
    ]
  ) {
    await using served = new Served({ upgradeToTls });
    const client = await greeted(served);
    for (const part of parts) {
      await client.send(part);
      if (part.endsWith("TLS\r\n")) assert.match(await client.hear(), /^220 /);
      await settle();
    }
    // The server's alert is not SMTP; nothing it says is a reply.
    assert.doesNotMatch(await client.rest(), /\d{3}[ -]/);
    assert.equal((await served.log.saw("session.closed")).fields["reason"], "TLS handshake failed");
  }
});

Deno.test("garbage in the handshake ends that connection, and no other (case 15)", async () => {
  await using served = new Served({ upgradeToTls });
  const [port, tlsPort] = [served.port(), served.port({ implicitTls: true })];
  const good = await greeted(served, port);
  let closed = 0;
  for (
    const garbage of ["\0".repeat(100), "\x16\x03\x01\x00\x05hello", "\x16\x03\x01\xff\xff", "\x80\x2e\x01"]
  ) {
    const client = await greeted(served, port);
    assert.match(await client.say("STARTTLS"), /^220 /);
    const direct = await served.connect(tlsPort);
    for (const peer of [client, direct]) {
      await peer.send(garbage);
      await peer.end();
      assert.doesNotMatch(await peer.rest(), /\d{3}[ -]/);
    }
    closed += 2;
    await served.log.saw("session.closed", closed);
  }
  for (const { fields } of served.log.named("session.closed")) {
    assert.equal(fields["reason"], "TLS handshake failed");
  }
  assert.match(await good.say("NOOP"), /^250 /);
  assert.match(await good.say("STARTTLS"), /^220 /);
  await good.startTls(trust);
  await deliver(good);
});

Deno.test("a reset in the handshake ends that connection, and no other (case 15)", async () => {
  await using served = new Served({ upgradeToTls });
  const port = served.port();
  const good = await greeted(served, port);
  const client = await greeted(served, port);
  await client.send("STARTTLS\r\n\x16\x03\x01");
  await settle();
  // With the 220 unread, closing is a reset.
  client.close();
  assert.equal((await served.log.saw("session.closed")).fields["reason"], "TLS handshake failed");
  assert.match(await good.say("NOOP"), /^250 /);
});

Deno.test("silence in the handshake is ended by the handshake's own deadline (cases 15 and 32)", async () => {
  await using served = new Served({ upgradeToTls });
  const port = served.port();
  const good = await greeted(served, port);
  const silent = await greeted(served, port);
  assert.match(await silent.say("STARTTLS"), /^220 /);
  const direct = await served.connect(served.port({ implicitTls: true }));
  await settle();
  await served.clock.advance(29_000);
  assert.deepEqual(served.log.named("session.closed"), []);
  await served.clock.advance(1_000);
  await served.log.saw("session.closed", 2);
  for (const peer of [silent, direct]) assert.equal(await peer.rest(), "");
  for (const { fields } of served.log.named("session.closed")) {
    assert.equal(fields["reason"], "TLS handshake timed out");
  }
  assert.match(await good.say("NOOP"), /^250 /);
});

Deno.test("a handshake that comes a byte at a time has one deadline for all of it (case 32)", async () => {
  await using served = new Served({ upgradeToTls });
  const client = await served.connect(served.port({ implicitTls: true }));
  // The head of a record that never gets whole.
  for (const byte of "\x16\x03\x01\x02\x00\x01") {
    await client.send(byte);
    await settle();
    await served.clock.advance(5_000);
  }
  assert.equal((await served.log.saw("session.closed")).fields["reason"], "TLS handshake timed out");
  assert.equal(await client.rest(), "");
});

Deno.test("silent and plaintext clients on the TLS port do not hold up others (case 16)", async () => {
  await using served = new Served({ upgradeToTls });
  const port = served.port({ implicitTls: true });
  for (let i = 0; i < 5; i++) await served.connect(port);
  const plain = await served.connect(port);
  await plain.send("EHLO client.test\r\nQUIT\r\n");
  assert.doesNotMatch(await plain.rest(), /\d{3}[ -]/);
  const client = await served.connect(port);
  await client.startTls(trust);
  assert.match(await client.hear(), /^220 /);
  await deliver(client);
});

Deno.test("silence over TLS is told 421 over TLS", async () => {
  await using served = new Served({ upgradeToTls });
  const client = await served.connect(served.port({ implicitTls: true }));
  await client.startTls(trust);
  assert.match(await client.hear(), /^220 /);
  await settle();
  await served.clock.advance(300_000);
  assert.equal(await client.rest(), "421 4.4.2 Timeout; goodbye\r\n");
});

Deno.test("shutdown() tells a client over TLS", async () => {
  await using served = new Served({ upgradeToTls });
  const client = await served.connect(served.port({ implicitTls: true }));
  await client.startTls(trust);
  assert.match(await client.hear(), /^220 /);
  await settle();
  await served.server.shutdown({ grace: 10_000 });
  assert.match(await client.rest(), /^421 4\.3\.2 /);
});

for (const [what, how] of [["close_notify", "end"], ["a record that is none", "garbage"]] as const) {
  Deno.test(`plaintext after ${what} in mid-data ends the session, and nothing is stored (case 10)`, async () => {
    await using served = new Served({ upgradeToTls });
    const port = served.port({ implicitTls: true });
    const raw = connectTcp(port, "127.0.0.1");
    // Between TLS and the socket, so that the socket outlives TLS.
    const between = new Duplex({
      read() {},
      write: (chunk, _encoding, done) => void raw.write(chunk, () => done()),
      final: (done) => done(),
    });
    let answer = "";
    raw.on("data", (bytes) => {
      answer = bytes.toString("latin1");
      between.push(bytes);
    });
    raw.on("error", () => {});
    const gone = once(raw, "close");
    const secure = connectTls({ socket: between, servername: HOSTNAME, ca: authority.cert });
    secure.on("error", () => {});
    await once(secure, "secureConnect");
    const heard = async (code: RegExp) => {
      for (let text = ""; !code.test(text);) text += String((await once(secure, "data"))[0]);
    };
    secure.write(
      "EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<alice@here.example>\r\nDATA\r\nhalf\r\n",
    );
    await heard(/354 /);
    if (how === "end") {
      const closed = once(secure, "finish");
      secure.end();
      await closed;
    }
    answer = "";
    raw.write("a message\r\n.\r\nMAIL FROM:<b@c.test>\r\nRCPT TO:<alice@here.example>\r\n");
    const { fields } = await served.log.saw("session.closed");
    assert.match(String(fields["reason"]), how === "end" ? /^closed by the peer in mid-data$/ : /TlsError/);
    raw.end();
    await gone;
    secure.destroy();
    between.destroy();
    assert.doesNotMatch(answer, /250/);
    assert.deepEqual(served.delivery.stored, []);
  });
}
