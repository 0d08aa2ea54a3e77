// serve-in over TLS: the self-signed certificate, and one that is renewed while it runs.
import assert from "node:assert/strict";
import { SmtpClient } from "../../smtp/client.ts";
import { systemClock } from "../../base/clock.ts";
import { ConnTransport } from "../../net/conn_transport.ts";
import type { TlsInfo } from "../../net/transport.ts";
import { type ClientTlsInfo, clientUpgrade } from "../../tls/client_upgrade.ts";
import { createTestAuthority } from "../support/test_authority.ts";
import { runMailapp, RunningMailapp, Workspace } from "../support/mailapp.ts";

const HOSTNAME = "mx.example.com";

async function connect(port: number, { implicit, ca }: { implicit: boolean; ca?: string }) {
  const upgrade = (plain: ConstructorParameters<typeof SmtpClient>[0]) =>
    clientUpgrade(plain, { servername: HOSTNAME, verify: false, ...(ca !== undefined && { ca }) });
  const conn = await Deno.connect({ hostname: "127.0.0.1", port });
  let transport: ConstructorParameters<typeof SmtpClient>[0] = new ConnTransport(conn, {
    clock: systemClock,
  });
  transport.deadline = systemClock.monotonic() + 10_000;
  let tls: ClientTlsInfo | undefined;
  if (implicit) ({ transport, tls } = await upgrade(transport));
  const client = new SmtpClient(transport, {
    hostname: "client.test",
    clock: systemClock,
    timeouts: { command: 10_000, data: 10_000, dataEnd: 10_000 },
  });
  await client.greeting();
  await client.hello();
  if (!implicit) {
    assert.ok(client.capabilities.startTls);
    ({ tls } = await client.startTls(upgrade));
    await client.hello();
  }
  assert.ok(!client.capabilities.startTls);
  assert.ok(tls !== undefined);
  return { client, tls };
}

async function deliver(client: SmtpClient): Promise<void> {
  const data = new TextEncoder().encode("Subject: x\r\n\r\nHello\r\n");
  const { recipients } = await client.send({
    reversePath: "a@client.test",
    recipients: [{ address: "alice@example.com" }],
    size: data.length,
    eightBit: false,
    smtputf8: false,
    chunks: async function* () {
      yield data;
    },
  });
  assert.equal(recipients[0]?.kind, "relayed");
}

/** Both ports of a server that offers STARTTLS and implicit TLS. */
async function ports(server: RunningMailapp): Promise<{ starttls: number; implicit: number }> {
  await server.event("server.ready");
  const port = (tls: TlsInfo["protocol"]) =>
    Number(server.events.find((event) => event.event === "listener.ready" && event["tls"] === tls)?.["port"]);
  return { starttls: port("starttls"), implicit: port("implicit") };
}

Deno.test("serve-in makes a certificate, keeps it, and takes mail over STARTTLS and implicit TLS", async () => {
  await using workspace = await Workspace.create();
  const config = await workspace.configure({ tls: { self_signed: true }, "serve-in": { tls_port: 0 } });
  const certificates: (Uint8Array | undefined)[] = [];
  for (let start = 0; start < 2; start++) {
    await using server = new RunningMailapp(["serve-in", "--config", config]);
    const { starttls, implicit } = await ports(server);
    for (const options of [{ port: starttls, implicit: false }, { port: implicit, implicit: true }]) {
      const { client, tls } = await connect(options.port, options);
      await deliver(client);
      await client.quit();
      certificates.push(tls.peerCertificate);
    }
    assert.equal(await server.stop(), 0);
  }
  assert.equal((await workspace.stored("alice")).length, 4);
  const [first, ...others] = certificates;
  assert.ok(first !== undefined);
  for (const other of others) assert.deepEqual(other, first);
});

Deno.test("serve-in takes a renewed certificate on SIGHUP, and keeps the old where the new does not match", async () => {
  await using workspace = await Workspace.create();
  const authority = await createTestAuthority();
  const [cert, key] = [workspace.file("cert.pem"), workspace.file("key.pem")];
  const issue = async () => {
    const leaf = await authority.issue({ names: [HOSTNAME] });
    await Deno.writeTextFile(cert, leaf.cert);
    await Deno.writeTextFile(key, leaf.key);
  };
  await issue();
  const config = await workspace.configure({ tls: { cert, key }, "serve-in": { tls_port: 0 } });
  const { stdout } = await runMailapp(["check-config", "--config", config]);
  assert.match(stdout, /has a certificate for mx\.example\.com, until \d{4}-\d\d-\d\d/);
  await using server = new RunningMailapp(["serve-in", "--config", config]);
  const { starttls } = await ports(server);
  const seen = async () => {
    const { client, tls } = await connect(starttls, { implicit: false, ca: authority.cert });
    await client.quit();
    assert.ok(tls.authorized, tls.authorizationError);
    return tls.peerCertificate;
  };
  const before = await connect(starttls, { implicit: false, ca: authority.cert });
  await issue();
  server.signal("SIGHUP");
  await server.event("config.reloaded");
  const renewed = await seen();
  assert.notDeepEqual(renewed, before.tls.peerCertificate);
  await deliver(before.client);
  await before.client.quit();

  await Deno.writeTextFile(key, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
  server.signal("SIGHUP");
  await server.event("tls.certificate.failed");
  assert.deepEqual(await seen(), renewed);
  assert.equal(await server.stop(), 0);
  const refused = await runMailapp(["serve-in", "--config", config]);
  assert.equal(refused.code, 78);
  assert.match(refused.stderr, /\[tls\] .*key\.pem: the key is damaged/);
});

Deno.test("serve-in serves with a certificate that is expired and for another name, and warns of both", async () => {
  await using workspace = await Workspace.create();
  const authority = await createTestAuthority();
  const [cert, key] = [workspace.file("cert.pem"), workspace.file("key.pem")];
  const leaf = await authority.issue({
    names: ["www.example.com"],
    notBefore: new Date(Date.now() - 9 * 86_400_000),
    notAfter: new Date(Date.now() - 86_400_000),
  });
  await Deno.writeTextFile(cert, leaf.cert);
  await Deno.writeTextFile(key, leaf.key, { mode: 0o600 });
  const config = await workspace.configure({ tls: { cert, key }, "serve-in": { tls_port: 0 } });
  await using server = new RunningMailapp(["serve-in", "--config", config]);
  const { starttls } = await ports(server);
  const warned = server.events.filter(({ event }) => event === "tls.certificate.warning").map((event) =>
    JSON.stringify(event)
  ).join();
  assert.match(warned, /expired on /);
  assert.match(warned, /not for mx\.example\.com/);
  const { client, tls } = await connect(starttls, { implicit: false, ca: authority.cert });
  assert.ok(!tls.authorized);
  await deliver(client);
  await client.quit();
  assert.equal(await server.stop(), 0);
});

Deno.test("serve-in without a certificate warns that there is no TLS", async () => {
  await using workspace = await Workspace.create();
  await using server = new RunningMailapp([
    "serve-in",
    "--config",
    await workspace.configure({ "serve-in": { tls_port: 0 } }),
  ]);
  await server.event("server.ready");
  const warnings = server.events.filter(({ event }) => event === "config.warning").map((event) =>
    event["warning"]
  );
  assert.equal(warnings.length, 2);
  assert.match(String(warnings[0]), /STARTTLS is not offered/);
  assert.match(String(warnings[1]), /tls_port = 0 is off/);
  assert.deepEqual(
    server.events.filter(({ event }) => event === "listener.ready").map((event) => event["tls"]),
    ["off"],
  );
  assert.equal(await server.stop(), 0);
});
