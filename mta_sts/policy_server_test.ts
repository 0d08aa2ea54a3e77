import assert from "node:assert/strict";
import { connect, createSecureContext, type TLSSocket } from "node:tls";
import { silentLogger } from "../base/log.ts";
import { policyRequests } from "../selftest/cases/policy_requests.ts";
import { serverUpgrade } from "../tls/server_upgrade.ts";
import { StaticResolver } from "../tests/support/static_resolver.ts";
import { createTestAuthority } from "../tests/support/test_authority.ts";
import { until } from "../tests/support/until.ts";
import { fetchPolicy } from "./fetch.ts";
import { publishPolicy } from "./own_policy.ts";
import { PolicyServer, type PolicyServerOptions } from "./policy_server.ts";

const POLICY = publishPolicy({ mode: "enforce", mx: ["mx.a.test"], maxAge: 86_400 }).text;
const PATH = "/.well-known/mta-sts.txt";

async function serving(options: Partial<PolicyServerOptions> = {}) {
  const authority = await createTestAuthority();
  const names = ["mta-sts.a.test", "mta-sts.b.test"];
  const { cert, key } = await authority.issue({ names });
  const server = new PolicyServer({
    upgradeToTls: serverUpgrade({ certificates: { secureContext: createSecureContext({ cert, key }) } }),
    policies: new Map(names.map((name) => [name, POLICY])),
    logger: silentLogger,
    ...options,
  });
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const served = server.serve(listener);
  const { port } = listener.addr;
  const open = async () => {
    const socket = connect({ host: "127.0.0.1", port, servername: "mta-sts.a.test", ca: [authority.cert] });
    await new Promise((resolve, reject) => socket.once("secureConnect", resolve).once("error", reject));
    return socket;
  };
  return {
    server,
    port,
    authority,
    open,
    /** Sends these pieces over a connection; all that comes back. */
    async exchange(...pieces: readonly string[]): Promise<string> {
      const socket = await open();
      for (const piece of pieces) {
        await new Promise((resolve) => socket.write(piece, resolve));
        if (pieces.length > 1) await new Promise((resolve) => setTimeout(resolve, 5));
      }
      return await rest(socket);
    },
    async [Symbol.asyncDispose]() {
      await server.shutdown({ forced: AbortSignal.abort() });
      await served;
    },
  };
}

async function rest(socket: TLSSocket): Promise<string> {
  let text = "";
  socket.on("data", (data) => text += data).on("error", () => {});
  await new Promise((resolve) => socket.once("close", resolve));
  return text;
}

const REQUESTS = policyRequests("mta-sts.a.test", { other: "mta-sts.b.test" });
const [{ request: GOOD } = { request: "" }] = REQUESTS;

Deno.test("PolicyServer serves the policy at its one path, and answers everything else with an error", async (t) => {
  await using world = await serving({ maxConnectionsPerIp: REQUESTS.length });
  // At the same time, since the server waits half a second for each client to close.
  const cases = await Promise.all(
    REQUESTS.map(async (asked) => ({ ...asked, answer: await world.exchange(asked.request) })),
  );
  for (const { tried, status, bodyless, answer } of cases) {
    await t.step(tried, () => {
      assert.ok(answer.startsWith(`HTTP/1.1 ${status} `), answer);
      if (status !== 200) return assert.doesNotMatch(answer, /STSv1/);
      assert.equal(answer.slice(answer.indexOf("\r\n\r\n") + 4), bodyless ? "" : POLICY);
      assert.match(answer, /\r\nContent-Type: text\/plain\r\n/);
      assert.match(answer, new RegExp(`\r\nContent-Length: ${POLICY.length}\r\n`));
    });
  }
  await t.step("a request in pieces", async () => {
    assert.match(await world.exchange(...GOOD), /^HTTP\/1\.1 200 /);
  });
  await t.step("only the first of two requests", async () => {
    assert.equal((await world.exchange(GOOD + GOOD)).split("HTTP/1.1 200 ").length, 2);
  });
});

Deno.test("PolicyServer is understood by fetchPolicy(), and serves another policy once it has one", async () => {
  await using world = await serving();
  const fetchIt = () =>
    fetchPolicy("a.test", {
      resolver: new StaticResolver({ "mta-sts.a.test": { a: ["127.0.0.1"] } }),
      port: world.port,
      trusted: [world.authority.cert],
      allowPrivate: true,
    });
  const first = await fetchIt();
  assert.ok("text" in first && first.text === POLICY, JSON.stringify(first));
  const { text } = publishPolicy({ mode: "none", mx: [], maxAge: 86_400 });
  world.server.policies = new Map([["mta-sts.a.test", text]]);
  const second = await fetchIt();
  assert.ok("text" in second && second.text === text, JSON.stringify(second));
});

Deno.test("PolicyServer bounds requests, time and connections", async (t) => {
  await t.step("a header without end", async () => {
    await using world = await serving();
    const line = `X: ${"x".repeat(1000)}\r\n`;
    assert.match(
      await world.exchange(`GET ${PATH} HTTP/1.1\r\n${line.repeat(20)}`),
      /^(?:HTTP\/1\.1 400 |$)/,
    );
  });
  await t.step("silence before and within TLS, and a request that never ends", async () => {
    await using world = await serving({ timeout: 300 });
    const conn = await Deno.connect({ hostname: "127.0.0.1", port: world.port });
    assert.equal(await conn.read(new Uint8Array(1)), null);
    conn.close();
    assert.equal(await world.exchange(), "");
    assert.equal(await world.exchange(`GET ${PATH} HTTP/1.1\r\n`), "");
  });
  await t.step("garbage in place of TLS", async () => {
    await using world = await serving();
    const conn = await Deno.connect({ hostname: "127.0.0.1", port: world.port });
    await conn.write(new TextEncoder().encode(`GET ${PATH} HTTP/1.1\r\nHost: mta-sts.a.test\r\n\r\n`));
    const buffer = new Uint8Array(1024);
    let text = "";
    for (;;) {
      const size = await conn.read(buffer).catch(() => null);
      if (size === null) break;
      text += new TextDecoder("latin1").decode(buffer.subarray(0, size));
    }
    conn.close();
    assert.doesNotMatch(text, /STSv1/);
  });
  await t.step("too many at a time from one address", async () => {
    await using world = await serving({ maxConnectionsPerIp: 2 });
    const held = [await world.open(), await world.open()];
    await assert.rejects(world.open());
    for (const socket of held) {
      const ended = rest(socket);
      socket.destroy();
      await ended;
    }
    const isServed = async () => (await world.exchange(GOOD).catch(() => "")).startsWith("HTTP/1.1 200 ");
    await until(isServed, "the server to see that they have gone");
  });
});
