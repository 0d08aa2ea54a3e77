import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";
import { ConnTransport } from "../net/conn_transport.ts";
import { DeadlineError } from "../net/transport.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { clientUpgrade, type ClientUpgradeOptions } from "./client_upgrade.ts";
import { serverUpgrade } from "./server_upgrade.ts";
import { testWith } from "../tests/support/requires.ts";
import { createTestAuthority, type LeafOptions } from "../tests/support/test_authority.ts";
import { TlsError } from "./tls_transport.ts";

const authority = await createTestAuthority();
const ca = authority.cert;

async function pair(clock = new FakeClock()) {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [conn, peer] = await Promise.all([
    Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port }),
    listener.accept(),
  ]);
  return { plain: new ConnTransport(conn, { clock }), peer, clock };
}

/** Connects to a server with such a certificate; both ends are closed when it returns. */
async function attempt(leaf: LeafOptions, options: ClientUpgradeOptions) {
  const { cert, key } = await authority.issue(leaf);
  const { plain, peer, clock } = await pair();
  const upgrade = serverUpgrade({ certificates: { secureContext: createSecureContext({ cert, key }) } });
  const [client, server] = await Promise.allSettled([
    clientUpgrade(plain, options),
    upgrade(new ConnTransport(peer, { clock })),
  ]);
  if (client.status === "fulfilled") client.value.transport.close();
  if (server.status === "fulfilled") server.value.transport.close();
  return {
    tls: client.status === "fulfilled" ? client.value.tls : undefined,
    error: client.status === "rejected" ? client.reason : undefined,
    sni: server.status === "fulfilled" ? server.value.tls.serverName : undefined,
    leaf: new X509Certificate(cert),
  };
}

Deno.test("clientUpgrade() verifies chain and name, and tells what was negotiated", async () => {
  const { tls, sni, leaf } = await attempt({ names: ["mx.test"] }, {
    servername: "mx.test",
    verify: true,
    ca,
  });
  const { peerChain = [], ...rest } = tls ?? assert.fail("no TLS");
  // The authority's own certificate comes with it.
  assert.deepEqual(peerChain.map((der) => new X509Certificate(der).subject), [
    "CN=mx.test",
    "CN=mailapp test authority",
  ]);
  assert.deepEqual(rest, {
    protocol: "TLSv1.3",
    cipher: "TLS_AES_256_GCM_SHA384",
    serverName: "mx.test",
    authorized: true,
    peerCertificate: new Uint8Array(leaf.raw),
  });
  assert.equal(sni, "mx.test");
});

Deno.test("clientUpgrade() reports, and with verify refuses, a certificate that does not fit", async () => {
  const stranger = await createTestAuthority("stranger");
  const yesterday = new Date(Date.now() - 86_400_000);
  const cases: [string, LeafOptions, Omit<ClientUpgradeOptions, "verify">, string][] = [
    [
      "another name",
      { names: ["mx.test"] },
      { servername: "other.test", ca },
      "ERR_TLS_CERT_ALTNAME_INVALID",
    ],
    ["another address", { names: ["::1"] }, { servername: "127.0.0.1", ca }, "ERR_TLS_CERT_ALTNAME_INVALID"],
    [
      "a stranger's",
      { names: ["mx.test"] },
      { servername: "mx.test", ca: stranger.cert },
      "SELF_SIGNED_CERT_IN_CHAIN",
    ],
    ["not trusted", { names: ["mx.test"] }, { servername: "mx.test" }, "SELF_SIGNED_CERT_IN_CHAIN"],
    [
      "expired",
      { names: ["mx.test"], notBefore: new Date(0), notAfter: yesterday },
      { servername: "mx.test", ca },
      "CERT_HAS_EXPIRED",
    ],
  ];
  for (const [name, leaf, options, code] of cases) {
    const { tls } = await attempt(leaf, { ...options, verify: false });
    assert.equal(tls?.authorized, false, name);
    assert.equal(tls?.authorizationError, code, name);
    const { tls: none, error } = await attempt(leaf, { ...options, verify: true });
    assert.equal(none, undefined, name);
    assert.ok(error instanceof TlsError, name);
    assert.equal(error.code, code, name);
  }
});

Deno.test("clientUpgrade() sends no SNI for an address literal, and compares it", async () => {
  for (const servername of ["127.0.0.1", "[127.0.0.1]"]) {
    const { tls, sni } = await attempt({ names: ["127.0.0.1"] }, { servername, verify: true, ca });
    assert.equal(tls?.authorized, true);
    assert.equal(sni, undefined);
  }
  const { tls, sni } = await attempt({ names: ["::1"] }, { servername: "[IPv6:::1]", verify: true, ca });
  assert.equal(tls?.authorized, true);
  assert.equal(sni, undefined);
});

Deno.test("clientUpgrade() takes a name with a trailing dot as the name", async () => {
  const { tls, sni } = await attempt({ names: ["mx.test"] }, { servername: "mx.test.", verify: true, ca });
  assert.equal(tls?.authorized, true);
  assert.equal(sni, "mx.test");
});

Deno.test("clientUpgrade() ends with a silent server by the plain transport's deadline", async () => {
  const { plain, peer, clock } = await pair();
  plain.deadline = clock.monotonic() + 30_000;
  const failed = assert.rejects(
    clientUpgrade(plain, { servername: "mx.test", verify: false }),
    DeadlineError,
  );
  await clock.advance(30_000);
  await failed;
  assert.equal(clock.pending, 0);
  peer.close();
});

Deno.test("clientUpgrade() rejects what is not TLS, and a server that hangs up", async () => {
  for (const answer of ["", "250-mx.test\r\n", "454 4.7.0 TLS not available\r\n"]) {
    const { plain, peer } = await pair();
    const failed = assert.rejects(
      clientUpgrade(plain, { servername: "mx.test", verify: false }),
      /TLS|broken/,
    );
    await peer.read(new Uint8Array(4096));
    await peer.write(new TextEncoder().encode(answer));
    peer.close();
    await failed;
    await assert.rejects(plain.read(new Uint8Array(1)));
  }
});

testWith(
  ["openssl"],
  "clientUpgrade() says that a key is too short, not that it is untrusted",
  async () => {
    const directory = await Deno.makeTempDir();
    const [cert, key] = [`${directory}/cert.pem`, `${directory}/key.pem`];
    const openssl = async (...args: string[]) => {
      const { success, stderr } = await new Deno.Command("openssl", { args }).output();
      assert.ok(success, new TextDecoder().decode(stderr));
    };
    for (const bits of [1024, 2048]) {
      await openssl(
        ...`req -x509 -newkey rsa:${bits} -nodes -keyout ${key} -out ${cert} -subj /CN=mx.test`.split(" "),
      );
      const server = new Deno.Command("openssl", {
        args: `s_server -accept 127.0.0.1:0 -cert ${cert} -key ${key} -cipher ALL:@SECLEVEL=0`.split(" "),
        stdin: "piped",
        stdout: "piped",
        stderr: "null",
      }).spawn();
      const conn = await Deno.connect({ hostname: "127.0.0.1", port: await portOf(server) });
      const upgrade = clientUpgrade(new ConnTransport(conn, { clock: new FakeClock() }), {
        servername: "mx.test",
        verify: false,
      });
      if (bits === 2048) {
        const { transport, tls } = await upgrade;
        assert.equal(tls.authorized, false);
        transport.close();
      } else {
        await assert.rejects(upgrade, (error) => {
          assert.ok(error instanceof TlsError);
          assert.match(error.message, /RSA with less than 2048 bits/);
          assert.doesNotMatch(error.message, /self-signed/);
          return true;
        });
      }
      server.kill();
      await Promise.allSettled([server.stdin.close(), server.stdout.cancel(), server.status]);
    }
    await Deno.remove(directory, { recursive: true });
  },
);

/** The port that `openssl s_server` says it listens on. */
async function portOf(server: Deno.ChildProcess): Promise<number> {
  const reader = server.stdout.getReader();
  let said = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      said += new TextDecoder().decode(value);
      const port = /^ACCEPT .*:(\d+)$/m.exec(said)?.[1];
      if (port !== undefined) return Number(port);
      if (done) throw new Error(`openssl s_server ended: ${said}`);
    }
  } finally {
    reader.releaseLock();
  }
}
