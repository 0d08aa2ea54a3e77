import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";
import type { TlsaRecord } from "../dns/resolver.ts";
import { StaticResolver } from "../tests/support/static_resolver.ts";
import { systemClock } from "../base/clock.ts";
import { ConnTransport } from "../net/conn_transport.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import { queueEntry } from "../tests/support/recording_queue.ts";
import { clientUpgrade } from "../tls/client_upgrade.ts";
import { serverUpgrade } from "../tls/server_upgrade.ts";
import { createTestAuthority } from "../tests/support/test_authority.ts";
import { createDial } from "../net/dial.ts";
import { findTargets, type Target } from "./mx.ts";
import { brief, world } from "../tests/support/host_connection.ts";

// The first byte of a ClientHello's record (RFC 8446 §5.1); no SMTP command begins so.
const HANDSHAKE_RECORD = 22;

/** A server with real TLS on a loopback port, which speaks just enough, on as many connections as come. */
async function realServer(
  names: readonly string[],
  options: { readonly notAfter?: Date; readonly implicitTls?: boolean; readonly ends?: "greeting" | "EHLO" } =
    {},
) {
  const authority = await createTestAuthority();
  const { cert, key } = await authority.issue({
    names,
    ...(options.notAfter &&
      { notAfter: options.notAfter, notBefore: new Date(options.notAfter.getTime() - 86_400_000) }),
  });
  const upgrade = serverUpgrade({ certificates: { secureContext: createSecureContext({ cert, key }) } });
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const received: string[] = [];
  const serve = async (conn: Deno.Conn) => {
    let transport: Parameters<typeof upgrade>[0] = new ConnTransport(conn, { clock: systemClock });
    const say = (text: string) => transport.write(new TextEncoder().encode(`${text}\r\n`));
    try {
      if (options.implicitTls) transport = (await upgrade(transport)).transport;
      if (options.ends === "greeting") throw new Error("enough");
      await say("220 real.test");
      const buffer = new Uint8Array(70_000);
      let data = false;
      for (let size = await transport.read(buffer); size !== null; size = await transport.read(buffer)) {
        const text = new TextDecoder().decode(buffer.subarray(0, size));
        received.push(text);
        if (data) {
          if (!text.endsWith("\r\n.\r\n")) continue;
          data = false;
          await say("250 2.0.0 ok");
        } else if (text === "STARTTLS\r\n") {
          await say("220 go");
          transport = (await upgrade(transport)).transport;
        } else if (text.startsWith("EHLO")) {
          if (options.ends === "EHLO") throw new Error("enough");
          await say("250-real.test\r\n250 STARTTLS");
        } else if (text === "DATA\r\n") {
          data = true;
          await say("354 go");
        } else {
          await say("250 2.0.0 ok");
        }
      }
    } catch {
      // The client has had enough.
    }
    transport.close();
  };
  const work: Promise<void>[] = [];
  const accepting = (async () => {
    for await (const conn of listener) work.push(serve(conn));
  })();
  return {
    ca: authority.cert,
    certificate: new X509Certificate(cert),
    port: listener.addr.port,
    received,
    async stop() {
      listener.close();
      await accepting;
      await Promise.all(work);
    },
  };
}

const REAL: readonly (readonly [
  name: string,
  given: { names?: string[]; notAfter?: Date; trusted?: boolean; tls?: Target["tls"]; implicitTls?: boolean },
  expected: RegExp,
])[] = [
  ["prefer, trusted", { trusted: true }, /^verified$/],
  ["prefer, unknown authority", {}, /^unverified$/],
  ["prefer, another name", { names: ["other.test"], trusted: true }, /^unverified$/],
  ["prefer, expired", { notAfter: new Date(Date.now() - 1000), trusted: true }, /^unverified$/],
  ["verify, trusted", { trusted: true, tls: "verify" }, /^verified$/],
  ["verify, unknown authority", { tls: "verify" }, /^4\.7\.5 certificate not accepted/],
  [
    "verify, another name",
    { names: ["other.test"], trusted: true, tls: "verify" },
    /^4\.7\.5 certificate not accepted/,
  ],
  [
    "verify, expired",
    { notAfter: new Date(Date.now() - 1000), trusted: true, tls: "verify" },
    /^4\.7\.5 certificate not accepted .*CERT_HAS_EXPIRED/,
  ],
  ["TLS first, prefer, unknown authority", { implicitTls: true }, /^unverified$/],
  ["TLS first, verify, trusted", { implicitTls: true, trusted: true, tls: "verify" }, /^verified$/],
  [
    "TLS first, verify, unknown authority",
    { implicitTls: true, tls: "verify" },
    /^4\.7\.5 certificate not accepted/,
  ],
];

for (const [name, given, expected] of REAL) {
  Deno.test(`HostConnection sends over a real socket and real TLS: ${name}`, async () => {
    const { names = ["mx.test"], notAfter, trusted, tls = "prefer", implicitTls = false } = given;
    const server = await realServer(names, { implicitTls, ...(notAfter && { notAfter }) });
    const { open, queue } = world({
      target: { address: "127.0.0.1", port: server.port, tls, implicitTls },
      options: {
        clock: systemClock,
        dial: createDial({ clock: systemClock, timeout: 10_000 }),
        upgrade: clientUpgrade,
        ...(trusted && { ca: server.ca }),
      },
    });
    const opened = await open();
    if (opened.kind === "unavailable") {
      assert.match(`${opened.attempt.status} ${opened.attempt.error}`, expected);
    } else {
      assert.match(opened.connection.tls, expected);
      const { outcomes } = await opened.connection.send({
        entry: queueEntry(["x@d.test"]),
        recipients: [0],
        queue,
      });
      assert.deepEqual(outcomes.map(brief), ["0 relayed 2.0.0"]);
      await opened.connection.close();
    }
    await server.stop();
    assert.equal(
      server.received.filter((text) => text.startsWith("EHLO")).length,
      (opened.kind === "open" ? 1 : 0) + (implicitTls ? 0 : 1),
    );
  });
}

for (
  const [what, server, expected] of [
    ["where the server speaks first", {}, /^4\.7\.5 .*TLS/],
    ["where the connection ends after the handshake", { implicitTls: true, ends: "greeting" }, /^4\.4\.2 /],
    ["where the connection ends after EHLO", { implicitTls: true, ends: "EHLO" }, /^4\.4\.2 .*after EHLO/],
  ] as const
) {
  Deno.test(`HostConnection.open() never does without TLS where that comes first: ${what}`, async () => {
    const { port, stop } = await realServer(["mx.test"], server);
    const beginnings: (number | undefined)[] = [];
    const dial = createDial({ clock: systemClock, timeout: 10_000 });
    const { open, log, clock } = world({
      target: { address: "127.0.0.1", port, implicitTls: true },
      options: {
        clock: systemClock,
        timeouts: { command: 5_000, data: 5_000, dataEnd: 5_000 },
        dial: async (to) => {
          const transport = await dial(to);
          const write = transport.write.bind(transport);
          const connection = beginnings.push(undefined) - 1;
          transport.write = (data) => {
            beginnings[connection] ??= data[0];
            return write(data);
          };
          return transport;
        },
        upgrade: clientUpgrade,
      },
    });
    // Under STARTTLS the last of these waits would be long enough to do without.
    for (const wait of [0, 29_000, 60_000]) {
      await clock.advance(wait);
      const opened = await open();
      assert.ok(opened.kind === "unavailable");
      assert.match(`${opened.attempt.status} ${opened.attempt.error}`, expected);
    }
    await stop();
    assert.deepEqual(beginnings, [HANDSHAKE_RECORD, HANDSHAKE_RECORD, HANDSHAKE_RECORD]);
    assert.deepEqual(log.events.filter(({ event }) => event === "host.plaintext"), []);
  });
}

for (const port of [25, 587, 465]) {
  Deno.test(`HostConnection.open() asks for the certificate that DNSSEC names on port ${port} of a route`, async () => {
    const server = await realServer(["other.test"], { implicitTls: port === 465 });
    const dial = createDial({ clock: systemClock, timeout: 10_000 });
    const right = {
      usage: 3,
      selector: 0,
      matchingType: 1,
      data: createHash("sha256").update(server.certificate.raw).digest(),
    };
    const wrong = { ...right, data: new Uint8Array(32) };
    const open = async (
      tls: Target["tls"] | undefined,
      tlsa: readonly TlsaRecord[],
      authenticated = true,
    ) => {
      const resolver = new StaticResolver({
        "smart.test": { a: ["192.0.2.1"], authenticated },
        [`_${port}._tcp.smart.test`]: { tlsa, authenticated: true },
      });
      const found = await findTargets("d.test", {
        resolver,
        family: "auto",
        port: 25,
        allowPrivateTargets: false,
        hostname: "client.test",
        ownListeners: [],
        routes: new Map([["*", { host: "smart.test", port }]]),
        tlsPolicy: new Map(tls === undefined ? [] : [["d.test", tls]]),
        random: () => 0,
        logger: new RecordingLog(),
      });
      assert.ok(found.kind === "targets");
      const opened = await world({
        target: found.targets[0] ?? {},
        options: {
          clock: systemClock,
          dial: ({ address }) => {
            assert.equal(address, "192.0.2.1");
            return dial({ address: "127.0.0.1", port: server.port });
          },
          upgrade: clientUpgrade,
          daneResolver: resolver,
        },
      }).open();
      if (opened.kind === "unavailable") return `${opened.attempt.status} ${opened.attempt.error}`;
      await opened.connection.close();
      return opened.connection.tls;
    };
    for (const tls of [undefined, "verify", "dane"] as const) {
      assert.equal(await open(tls, [wrong, right]), "dane");
      assert.equal(await open(tls, [wrong]), "4.7.5 the certificate is not the one that DNSSEC names (TLSA)");
    }
    // The configuration goes before DNS: these ask for no certificate.
    for (const tls of ["prefer", "require"] as const) assert.equal(await open(tls, [wrong]), "unverified");
    assert.equal(await open("dane", []), "4.7.5 DANE is required: smart.test has no signed TLSA records");
    assert.equal(
      await open("dane", [right], false),
      "4.7.5 DANE is required: the way to smart.test is not secured by DNSSEC",
    );
    assert.equal(await open(undefined, []), "unverified");
    assert.equal(await open(undefined, [wrong], false), "unverified");
    assert.match(await open("verify", [right], false), /^4\.7\.5 certificate not accepted/);
    await server.stop();
  });
}
