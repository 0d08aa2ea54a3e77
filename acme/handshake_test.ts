import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { connect, type ConnectionOptions } from "node:tls";
import { systemClock } from "../base/clock.ts";
import { ConnTransport } from "../net/conn_transport.ts";
import { createTestAuthority } from "../tests/support/test_authority.ts";
import { answerHandshake, type ShownCertificate } from "./handshake.ts";

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
