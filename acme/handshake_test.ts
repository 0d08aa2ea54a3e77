import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { connect, type ConnectionOptions } from "node:tls";
import { systemClock } from "../base/clock.ts";
import { ConnTransport } from "../net/conn_transport.ts";
import { createTestAuthority } from "../tests/support/test_authority.ts";
import { answerHandshake, type ShownCertificate } from "./handshake.ts";
import {
  finishedData,
  hashOf,
  KeySchedule,
  plainRecord,
  RECORD,
  RecordProtection,
} from "./handshake_keys.ts";

const PROTOCOL = "acme-tls/1";

/** A server that answers handshakes for `a.test`. */
async function serving() {
  const authority = await createTestAuthority();
  const { cert, key } = await authority.issue({ names: ["a.test"] });
  const chain = cert.split(/(?<=-----END CERTIFICATE-----\n)/).filter((pem) => pem.includes("BEGIN"))
    .map((pem) => new Uint8Array(new X509Certificate(pem).raw));
  const shown: ShownCertificate = { chain, key };
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  return {
    authority,
    port,
    /** What became of the next connection. */
    async answer(): Promise<string> {
      const transport = new ConnTransport(await listener.accept(), { clock: systemClock });
      try {
        return await answerHandshake(transport, {
          protocol: PROTOCOL,
          certificateFor: (name) => name === "a.test" ? shown : undefined,
        });
      } catch (error) {
        return String(error);
      } finally {
        transport.close();
      }
    },
    [Symbol.dispose]: () => listener.close(),
  };
}

/** What another implementation of TLS makes of it: the protocol agreed on, or the error. */
async function handshake(port: number, options: ConnectionOptions): Promise<string> {
  const socket = connect({ host: "127.0.0.1", port, ALPNProtocols: [PROTOCOL], ...options });
  return await new Promise((resolve) => {
    socket.on("error", (error) => resolve(`error: ${error.message}`));
    socket.once("secureConnect", () => {
      resolve(`${socket.getProtocol()} ${socket.alpnProtocol} ${socket.authorized}`);
      socket.end();
    });
  });
}

Deno.test("answerHandshake() shows a certificate that the client of another implementation verifies", async () => {
  using server = await serving();
  const answered = server.answer();
  const seen = await handshake(server.port, { servername: "a.test", ca: [server.authority.cert] });
  assert.equal(seen, "TLSv1.3 acme-tls/1 true");
  assert.equal(await answered, "a.test");
});

Deno.test("answerHandshake() refuses what it is not there for, by an alert", async (t) => {
  using server = await serving();
  const ca = [server.authority.cert];
  const cases: Record<string, readonly [ConnectionOptions, RegExp, RegExp]> = {
    "another name": [
      { servername: "b.test", ca },
      /no certificate for that name/,
      /unrecogni[sz]ed.?name/i,
    ],
    "another protocol": [
      { servername: "a.test", ca, ALPNProtocols: ["h2"] },
      /does not ask for acme-tls\/1/,
      /NoApplicationProtocol|no application protocol/i,
    ],
    "no TLS 1.3": [
      { servername: "a.test", ca, maxVersion: "TLSv1.2" },
      /does not speak TLS 1\.3/,
      /ProtocolVersion|protocol version/i,
    ],
  };
  for (const [name, [options, expected, seen]] of Object.entries(cases)) {
    await t.step(name, async () => {
      const answered = server.answer();
      assert.match(await handshake(server.port, options), seen);
      assert.match(await answered, expected);
    });
  }
  await t.step("a client that does not accept the certificate", async () => {
    const answered = server.answer();
    assert.match(await handshake(server.port, { servername: "a.test", ca: [] }), /^error: /);
    assert.match(await answered, /alert|gone|protected/);
  });
});

Deno.test("answerHandshake() ends with what is no handshake, however it is cut", async () => {
  using server = await serving();
  const random = (length: number) => crypto.getRandomValues(new Uint8Array(length));
  const inputs: Uint8Array[] = [
    new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"),
    Uint8Array.of(22, 3, 1, 255, 255),
    Uint8Array.of(22, 3, 1, 0, 4, 1, 255, 255, 255),
    Uint8Array.of(22, 3, 1, 0, 0),
    Uint8Array.of(22, 3, 1, 0, 4, 1, 0, 0, 0),
    Uint8Array.of(20, 3, 3, 0, 1, 1),
    Uint8Array.of(21, 3, 3, 0, 2, 1, 0),
    Uint8Array.of(23, 3, 3, 0, 2, 1, 0),
    ...Array.from(
      { length: 30 },
      (_, length) => Uint8Array.of(22, 3, 1, 0, length + 4, 1, 0, 0, length, ...random(length)),
    ),
  ];
  for (const input of inputs) {
    const answered = server.answer();
    const conn = await Deno.connect({ hostname: "127.0.0.1", port: server.port });
    await conn.write(input);
    await conn.closeWrite();
    assert.match(await answered, /^(?:HandshakeError|ConnectionError): /);
    conn.close();
  }
});

/** Octets with their length in two octets before them. */
function counted(...octets: readonly number[]): number[] {
  return [octets.length >> 8, octets.length & 255, ...octets];
}

/** A ClientHello for `a.test` with this share of X25519. */
function clientHello(share: Uint8Array, { sessionId = 0 } = {}): Uint8Array<ArrayBuffer> {
  const text = (text: string) => [...new TextEncoder().encode(text)];
  const extensions = [
    ...[0, 43, ...counted(2, 3, 4)],
    ...[0, 10, ...counted(...counted(0, 29))],
    ...[0, 13, ...counted(...counted(4, 3))],
    ...[0, 16, ...counted(...counted(PROTOCOL.length, ...text(PROTOCOL)))],
    ...[0, 0, ...counted(...counted(0, ...counted(...text("a.test"))))],
    ...[0, 51, ...counted(...counted(0, 29, ...counted(...share)))],
  ];
  const body = [
    ...[3, 3, ...crypto.getRandomValues(new Uint8Array(32))],
    ...[sessionId, ...new Uint8Array(sessionId), ...counted(0x13, 0x01), 1, 0, ...counted(...extensions)],
  ];
  return Uint8Array.of(1, 0, ...counted(...body));
}

/** The content of the next record with this type, with its header. */
async function recordOf(conn: Deno.Conn, type: number): Promise<Uint8Array<ArrayBuffer>> {
  const exactly = async (length: number) => {
    const octets = new Uint8Array(length);
    for (let at = 0; at < length;) at += await conn.read(octets.subarray(at)) ?? assert.fail("it ends");
    return octets;
  };
  for (;;) {
    const header = await exactly(5);
    const content = await exactly((header[3] ?? 0) * 256 + (header[4] ?? 0));
    if (header[0] === type) return Uint8Array.of(...header, ...content);
  }
}

Deno.test("answerHandshake() takes no Finished but the right one, whole and protected", async (t) => {
  using server = await serving();
  const finishedOf = (data: Uint8Array) => Uint8Array.of(20, 0, ...counted(...data));
  const plain = (data: Uint8Array) => plainRecord(RECORD.handshake, finishedOf(data));
  type Sealing = (data: Uint8Array) => Promise<Uint8Array<ArrayBuffer>>;
  const cases: Record<
    string,
    readonly [last: (data: Uint8Array, seal: Sealing) => unknown, expected: RegExp]
  > = {
    "the right one": [(data, seal) => seal(data), /^a\.test$/],
    "an empty one": [(_, seal) => seal(new Uint8Array()), /Finished is wrong/],
    "its beginning": [(data, seal) => seal(data.subarray(0, 31)), /Finished is wrong/],
    "more than that": [(data, seal) => seal(Uint8Array.of(...data, 0)), /Finished is wrong/],
    "another": [(data, seal) => seal(data.map((octet) => octet ^ 1)), /Finished is wrong/],
    "not protected": [(data) => plain(data), /no handshake, but a record/],
    "empty, and not protected": [() => plain(new Uint8Array()), /no handshake, but a record/],
  };
  const pair = await crypto.subtle.generateKey({ name: "X25519" }, false, ["deriveBits"]) as CryptoKeyPair;
  const hello = clientHello(new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey)));
  for (const [name, [last, expected]] of Object.entries(cases)) {
    await t.step(name, async () => {
      const answered = server.answer();
      using conn = await Deno.connect({ hostname: "127.0.0.1", port: server.port });
      await conn.write(plainRecord(RECORD.handshake, hello));
      const serverHello = (await recordOf(conn, RECORD.handshake)).subarray(5);
      const share = await crypto.subtle.importKey(
        "raw",
        serverHello.slice(-32),
        { name: "X25519" },
        false,
        [],
      );
      const keys = new KeySchedule();
      const algorithm = { name: "X25519", public: share };
      keys.mix(new Uint8Array(await crypto.subtle.deriveBits(algorithm, pair.privateKey, 256)));
      const transcript = hashOf(hello, serverHello);
      const secret = keys.secret("c hs traffic", transcript);
      const reading = await RecordProtection.of(keys.secret("s hs traffic", transcript));
      const { content: flight } = await reading.open(await recordOf(conn, RECORD.applicationData));
      const sealing = await RecordProtection.of(secret);
      const seal: Sealing = (data) => sealing.seal(RECORD.handshake, finishedOf(data));
      const data = finishedData(secret, hashOf(hello, serverHello, flight));
      const record = await last(data, seal);
      assert.ok(record instanceof Uint8Array);
      await conn.write(record);
      assert.match(await answered, expected);
    });
  }
});

Deno.test("answerHandshake() refuses what follows a ClientHello without protection, and a session id too long", async () => {
  using server = await serving();
  const pair = await crypto.subtle.generateKey({ name: "X25519" }, false, ["deriveBits"]) as CryptoKeyPair;
  const share = new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey));
  const cases = [
    [Uint8Array.of(...clientHello(share), 20, 0, 0, 0), /across a change of keys/],
    [clientHello(share, { sessionId: 33 }), /session id is too long/],
    // A point of low order: what both sides would agree on is known to everybody.
    [clientHello(new Uint8Array(32)), /a key share that is none/],
  ] as const;
  for (const [messages, expected] of cases) {
    const answered = server.answer();
    using conn = await Deno.connect({ hostname: "127.0.0.1", port: server.port });
    await conn.write(plainRecord(RECORD.handshake, messages));
    assert.match(await answered, expected);
  }
});
