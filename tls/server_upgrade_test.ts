import assert from "node:assert/strict";
import { fc } from "../tests/support/property.ts";
import { connect as connectTls, createSecureContext } from "node:tls";
import { ConnTransport } from "../net/conn_transport.ts";
import { DeadlineError, type Transport } from "../net/transport.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { clientUpgrade } from "./client_upgrade.ts";
import { serverUpgrade } from "./server_upgrade.ts";
import { createTestAuthority } from "../tests/support/test_authority.ts";
import { TlsError, TransportStream } from "./tls_transport.ts";

const authority = await createTestAuthority();
const secureContext = createSecureContext(await authority.issue({ names: ["mx.test"] }));
const upgrade = serverUpgrade({ certificates: { secureContext } });
const client = { servername: "mx.test", verify: true, ca: authority.cert };

async function pair(clock = new FakeClock()) {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [peer, conn] = await Promise.all([
    Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port }),
    listener.accept(),
  ]);
  return { peer, plain: new ConnTransport(conn, { clock }) };
}

async function tlsPair(clock = new FakeClock()) {
  const { peer, plain } = await pair(clock);
  const [server, remote] = await Promise.all([
    upgrade(plain),
    clientUpgrade(new ConnTransport(peer, { clock }), client),
  ]);
  return { server: server.transport, client: remote.transport, tls: server.tls, plain };
}

/** The first flight of a client, as bytes. */
async function clientHello(): Promise<Uint8Array> {
  const { promise, resolve } = Promise.withResolvers<Uint8Array>();
  const address = { address: "192.0.2.1", port: 1 };
  const end = Promise.withResolvers<null>();
  const duplex = new TransportStream({
    remote: address,
    local: address,
    deadline: Infinity,
    read: () => end.promise,
    write: (data) => Promise.resolve(resolve(data.slice())),
    close: () => end.resolve(null),
  });
  const socket = connectTls({ socket: duplex, servername: "mx.test" });
  socket.on("error", () => {});
  const hello = await promise;
  socket.destroy();
  return hello;
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

const bytes = (text: string) => new TextEncoder().encode(text);

async function readBytes(transport: Transport, length: number, bufferSize: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  const buffer = new Uint8Array(bufferSize);
  for (let at = 0; at < length;) {
    const read = await transport.read(buffer);
    assert.ok(read !== null && read > 0);
    bytes.set(buffer.subarray(0, read), at);
    at += read;
  }
  return bytes;
}

Deno.test("serverUpgrade() carries bytes both ways and says what was negotiated", async () => {
  const { server, client, tls, plain } = await tlsPair();
  assert.deepEqual(tls, { protocol: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384", serverName: "mx.test" });
  assert.deepEqual([server.remote, server.local], [plain.remote, plain.local]);
  const data = new Uint8Array(2_000_000).map((_, i) => i * i);
  // A buffer smaller than what comes, and odd.
  const received = readBytes(server, data.length, 777);
  await client.write(data);
  assert.deepEqual(await received, data);
  const returned = readBytes(client, data.length, 1 << 16);
  await server.write(data);
  assert.deepEqual(await returned, data);
  server.close();
  client.close();
});

Deno.test("serverUpgrade() reads no further ahead than its buffers while its data is not read", async () => {
  const { peer, plain } = await pair();
  let taken = 0;
  const counted: Transport = {
    remote: plain.remote,
    local: plain.local,
    deadline: Infinity,
    read: async (buffer) => {
      const read = await plain.read(buffer);
      taken += read ?? 0;
      return read;
    },
    write: (data) => plain.write(data),
    close: () => plain.close(),
  };
  const [server, remote] = await Promise.all([
    upgrade(counted),
    clientUpgrade(new ConnTransport(peer, { clock: new FakeClock() }), client),
  ]);
  const flood = remote.transport.write(new Uint8Array(64 << 20)).catch((error) => error);
  // The kernel's buffers fill, then the flood stands still; each turn of the loop lets it run if it still can.
  for (let last = -1; last !== taken;) {
    last = taken;
    for (let i = 0; i < 200; i++) await turn();
  }
  assert.ok(taken < 1 << 20, `${taken} bytes taken`);
  server.transport.close();
  remote.transport.close();
  assert.ok(await flood instanceof Error);
});

Deno.test("serverUpgrade() waits for a peer that does not read, until the deadline", async () => {
  const clock = new FakeClock();
  const { server, client } = await tlsPair(clock);
  server.deadline = 1000;
  const write = assert.rejects(async () => {
    for (;;) await server.write(new Uint8Array(1 << 20));
  }, DeadlineError);
  await clock.advance(1000);
  await write;
  await assert.rejects(server.read(new Uint8Array(1)), DeadlineError);
  client.close();
});

Deno.test("serverUpgrade() negotiates TLS 1.2", async () => {
  const { peer, plain } = await pair();
  const duplex = new TransportStream(new ConnTransport(peer, { clock: new FakeClock() }));
  connectTls({ socket: duplex, rejectUnauthorized: false, maxVersion: "TLSv1.2" }).on("error", () => {});
  const { transport, tls } = await upgrade(plain);
  assert.deepEqual(tls, { protocol: "TLSv1.2", cipher: "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" });
  transport.close();
  duplex.destroy();
});

Deno.test("serverUpgrade() refuses TLS 1.1", async () => {
  const hello = (await clientHello()).toHex();
  // The supported_versions extension (RFC 8446 §4.2.1) with 1.3 and 1.2, made to say 1.1 and 1.0.
  const older = hello.replace("002b00050403040303", "002b00050403020301");
  assert.notEqual(older, hello);
  const { peer, plain } = await pair();
  await peer.write(Uint8Array.fromHex(older));
  await assert.rejects(
    upgrade(plain),
    (error) => error instanceof TlsError && /Tls12NotOffered/.test(error.message),
  );
  peer.close();
});

Deno.test("serverUpgrade() ends a silent client by the plain transport's deadline", async () => {
  for (const sent of [new Uint8Array(0), (await clientHello()).subarray(0, 60), await clientHello()]) {
    const clock = new FakeClock();
    const { peer, plain } = await pair(clock);
    plain.deadline = 1000;
    const failed = assert.rejects(upgrade(plain), DeadlineError);
    if (sent.length > 0) await peer.write(sent);
    await clock.advance(1000);
    await failed;
    assert.equal(clock.pending, 0);
    peer.close();
  }
});

Deno.test("serverUpgrade() rejects garbage", async () => {
  for (
    const garbage of [
      "EHLO client.test\r\n",
      "\x16\x03\x01\x00\x05hello",
      "\0".repeat(100),
      "\x15\x03\x03\x00\x02\x02\x28",
    ]
  ) {
    const { peer, plain } = await pair();
    await peer.write(bytes(garbage));
    await assert.rejects(upgrade(plain), TlsError);
    await assert.rejects(plain.read(new Uint8Array(1)));
    peer.close();
  }
});

Deno.test("serverUpgrade() survives any damage to the first flight", async () => {
  const hello = await clientHello();
  await fc.assert(
    fc.asyncProperty(
      fc.nat(hello.length - 1),
      fc.integer({ min: 1, max: 255 }),
      fc.nat(20),
      async (at, flip, extra) => {
        const damaged = new Uint8Array(hello.length + extra);
        damaged.set(hello);
        damaged[at] = (damaged[at] ?? 0) ^ flip;
        const { peer, plain } = await pair();
        await peer.write(damaged);
        await peer.closeWrite();
        await assert.rejects(upgrade(plain));
        peer.close();
      },
    ),
    { numRuns: 60 },
  );
});

Deno.test("serverUpgrade() rejects a client that goes away, cleanly or by reset", async () => {
  for (const sent of [new Uint8Array(0), await clientHello()]) {
    const { peer, plain } = await pair();
    const failed = assert.rejects(upgrade(plain), /closed by the peer|broken/);
    await peer.write(sent);
    if (sent.length > 0) {
      // The server's flight stays unread, so that closing sends RST.
      await peer.read(new Uint8Array(1));
    }
    peer.close();
    await failed;
  }
});

Deno.test("read() gives null after close_notify, whatever follows in plaintext, and replies still go out", async () => {
  const { peer, plain } = await pair();
  const raw = new ConnTransport(peer, { clock: new FakeClock() });
  const duplex = new TransportStream(raw);
  const socket = connectTls({
    socket: duplex,
    ca: authority.cert,
    servername: "mx.test",
  });
  const { transport } = await upgrade(plain);
  socket.write("DATA\r\n");
  assert.deepEqual(await readBytes(transport, 6, 100), bytes("DATA\r\n"));
  socket.end();
  assert.equal(await transport.read(new Uint8Array(100)), null);
  await raw.write(bytes("QUIT\r\n"));
  assert.equal(await transport.read(new Uint8Array(100)), null);
  const reply = new Promise((resolve) => socket.once("data", (data) => resolve(String(data))));
  await transport.write(bytes("451 cut short\r\n"));
  assert.equal(await reply, "451 cut short\r\n");
  transport.close();
  transport.close();
  await turn();
  await assert.rejects(plain.read(new Uint8Array(1)));
  await assert.rejects(transport.read(new Uint8Array(1)));
  await assert.rejects(transport.write(bytes("x")));
  socket.destroy();
});

Deno.test("read() gives null when the peer ends the connection without close_notify", async () => {
  const { peer, plain } = await pair();
  const raw = new ConnTransport(peer, { clock: new FakeClock() });
  const [server] = await Promise.all([upgrade(plain), clientUpgrade(raw, client)]);
  raw.close();
  assert.equal(await server.transport.read(new Uint8Array(1)), null);
  server.transport.close();
});

Deno.test("read() rejects plaintext amid TLS", async () => {
  const { peer, plain } = await pair();
  const raw = new ConnTransport(peer, { clock: new FakeClock() });
  const [server, remote] = await Promise.all([upgrade(plain), clientUpgrade(raw, client)]);
  await raw.write(bytes("MAIL FROM:<a@client.test>\r\n"));
  await assert.rejects(server.transport.read(new Uint8Array(100)), TlsError);
  server.transport.close();
  remote.transport.close();
});

Deno.test("close() tells the peer by close_notify", async () => {
  const { server, client } = await tlsPair();
  await server.write(bytes("221 bye\r\n"));
  server.close();
  assert.equal(new TextDecoder().decode(await readBytes(client, 9, 100)), "221 bye\r\n");
  assert.equal(await client.read(new Uint8Array(1)), null);
  client.close();
});

Deno.test("close() fails a pending read and a pending write", async () => {
  const { server, client } = await tlsPair();
  const read = assert.rejects(server.read(new Uint8Array(1)));
  const write = assert.rejects(server.write(new Uint8Array(64 << 20)));
  server.close();
  await read;
  await write;
  client.close();
});

Deno.test("serverUpgrade() takes the certificate of the moment", async () => {
  const certificates = { secureContext };
  const upgrade = serverUpgrade({ certificates });
  const serials: (string | undefined)[] = [];
  for (let i = 0; i < 2; i++) {
    const { peer, plain } = await pair();
    const [server, remote] = await Promise.all([
      upgrade(plain),
      clientUpgrade(new ConnTransport(peer, { clock: new FakeClock() }), client),
    ]);
    serials.push(remote.tls.peerCertificate?.toHex());
    remote.transport.close();
    server.transport.close();
    certificates.secureContext = createSecureContext(await authority.issue({ names: ["mx.test"] }));
  }
  assert.notEqual(serials[0], serials[1]);
});
