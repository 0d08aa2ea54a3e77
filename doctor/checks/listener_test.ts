import assert from "node:assert/strict";
import { ConnectionError } from "../../net/conn_transport.ts";
import type { Transport } from "../../net/transport.ts";
import { FakeClock } from "../../tests/support/fake_clock.ts";
import { FakeServer, type FakeServerOptions } from "../../tests/support/fake_server.ts";
import { checkListener } from "./listener.ts";

const GOOD = {
  greeting: "220 mx.d.test ESMTP",
  RCPT: "550 5.7.1 Relaying denied",
} as const;

function check(dial: () => Promise<Transport>, { clock = new FakeClock(), hasCertificate = false } = {}) {
  return checkListener({
    endpoint: { address: "192.0.2.1", port: 25 },
    hostname: "mx.d.test",
    hasCertificate,
    domain: "d.test",
    dial,
    clock,
  });
}

function serve(options: Partial<FakeServerOptions> = {}) {
  const clock = new FakeClock();
  const server = new FakeServer({ clock, capabilities: [], script: GOOD, ...options });
  return { clock, server, dial: () => Promise.resolve(server.connect()) };
}

Deno.test("checkListener() finds nothing at a good server, and sends no message", async () => {
  const { server, dial } = serve();
  const [finding, ...others] = await check(dial);
  assert.equal(finding?.outcome, "ok");
  assert.deepEqual(others, []);
  assert.ok(!server.commands.includes("DATA"));
  assert.equal(server.commands.filter((command) => command.startsWith("MAIL")).length, 4);
  assert.equal(server.commands.at(-1), "QUIT");
});

Deno.test("checkListener() shows the dialogue with an open relay", async () => {
  const { server, dial } = serve({ script: { ...GOOD, RCPT: "250 2.1.5 Fine" } });
  const [finding, ...others] = await check(dial);
  assert.deepEqual(others, []);
  assert.equal(finding?.id, "smtp.open-relay");
  assert.equal(finding?.outcome, "failure");
  assert.deepEqual(finding?.dialogue?.slice(0, 2), [
    "S: 220 mx.d.test ESMTP",
    "C: EHLO doctor.probe.localhost",
  ]);
  assert.ok(finding?.dialogue?.some((line) => line === "S: 250 2.1.5 Fine"));
  assert.deepEqual(server.messages, []);
});

Deno.test("checkListener() tells another name, no STARTTLS, a greeting that refuses, and what breaks off", async () => {
  const ids = async (options: Partial<FakeServerOptions>, hasCertificate = false) =>
    (await check(serve(options).dial, { hasCertificate })).map(({ id }) => id);
  assert.deepEqual(await ids({ script: { ...GOOD, greeting: "220 other.test ESMTP" } }), ["smtp.banner"]);
  assert.deepEqual(await ids({}, true), ["smtp.no-starttls"]);
  assert.deepEqual(await ids({ script: { ...GOOD, greeting: "421 4.3.2 Busy" } }), ["smtp.busy"]);
  assert.deepEqual(await ids({ script: { ...GOOD, EHLO: "drop" } }), ["smtp.broken"]);
  for (const [verb, reply] of [["MAIL", "452 4.3.1 Full"], ["RCPT", "450 4.2.0 Not now"]] as const) {
    const [finding, ...more] = await check(serve({ script: { ...GOOD, [verb]: reply } }).dial);
    assert.deepEqual([finding?.id, more], ["smtp.defers", []]);
    assert.ok(finding?.what.endsWith(reply), finding?.what);
  }
  const refused = () => Promise.reject(new ConnectionError("connection refused", { code: "ECONNREFUSED" }));
  assert.deepEqual((await check(refused)).map(({ id }) => id), ["smtp.no-connection"]);
});

Deno.test("checkListener() gives up on a server that is silent, and says that it was slow", async () => {
  const { clock, dial } = serve({ script: { greeting: "stall" } });
  const found = check(dial, { clock });
  await clock.advance(20_000);
  assert.deepEqual((await found).map(({ id }) => id), ["smtp.broken", "smtp.slow"]);
});
