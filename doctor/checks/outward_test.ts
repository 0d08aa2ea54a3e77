import assert from "node:assert/strict";
import { createSecureContext } from "node:tls";
import { StaticResolver } from "../../tests/support/static_resolver.ts";
import { createDial } from "../../net/dial.ts";
import { systemClock } from "../../base/clock.ts";
import { ConnectionError, ConnTransport } from "../../net/conn_transport.ts";
import { DeadlineError, type Transport } from "../../net/transport.ts";
import { FakeClock } from "../../tests/support/fake_clock.ts";
import { FakeServer } from "../../tests/support/fake_server.ts";
import { serverUpgrade } from "../../tls/server_upgrade.ts";
import { createTestAuthority } from "../../tests/support/test_authority.ts";
import { checkOutward, type OutwardCheck } from "./outward.ts";

const clock = new FakeClock();
const resolver = new StaticResolver({
  "probe.test": { mx: [{ preference: 1, exchange: "mx.probe.test" }] },
  "mx.probe.test": { a: ["192.0.2.25"], aaaa: ["2001:db8::25"] },
  "smtp.test": { a: ["192.0.2.87"] },
});

type Dial = (address: string) => Promise<Transport>;

function find(dial: Dial, changes: Partial<OutwardCheck> = {}) {
  return checkOutward({
    target: { domain: "probe.test" },
    port: 25,
    families: [4],
    resolver,
    dial: ({ address }) => dial(address),
    clock,
    ...changes,
  });
}

async function check(dial: Dial, changes: Partial<OutwardCheck> = {}) {
  return (await find(dial, changes)).map(({ id, outcome }) => `${id} ${outcome}`);
}

Deno.test("checkOutward() connects over each family, and says only QUIT", async () => {
  const server = new FakeServer({ clock });
  const asked: string[] = [];
  const dial = (address: string) => {
    asked.push(address);
    return Promise.resolve(server.connect());
  };
  assert.deepEqual(await check(dial, { families: [4, 6] }), ["outward ok", "outward ok"]);
  assert.deepEqual(asked.sort(), ["192.0.2.25", "2001:db8::25"]);
  assert.deepEqual(server.commands.filter((command) => command !== "(connected)"), ["QUIT", "QUIT"]);
  asked.length = 0;
  assert.deepEqual(await check(dial, { target: { host: "smtp.test" }, port: 587 }), ["outward ok"]);
  assert.deepEqual(asked, ["192.0.2.87"]);
});

Deno.test("checkOutward() connects to an IP address over its own family, whichever others are used", async () => {
  const server = new FakeServer({ clock });
  for (
    const [host, family] of [["192.0.2.87", 4], ["2001:db8::87", 6]] as const
  ) {
    for (const families of [[4], [6], [4, 6]] as const) {
      const asked: string[] = [];
      const resolver = new StaticResolver({});
      const findings = await find((address) => {
        asked.push(address);
        return Promise.resolve(server.connect());
      }, { target: { host }, port: 587, families, resolver });
      assert.deepEqual(findings.map(({ id, subject, outcome, what }) => [id, subject, outcome, what]), [
        ["outward", `port 587 over IPv${family}`, "ok", `${host} greets with 220`],
      ]);
      assert.deepEqual(asked, [host]);
      assert.deepEqual(resolver.asked, []);
    }
  }
  const [finding] = await find(() => Promise.reject(new DeadlineError()), { target: { host: "192.0.2.87" } });
  assert.equal(finding?.id, "outward.blocked");
});

Deno.test("checkOutward() makes the handshake first on port 465", async () => {
  const { cert, key } = await (await createTestAuthority()).issue({ names: ["smtp.test"] });
  const upgrade = serverUpgrade({ certificates: { secureContext: createSecureContext({ cert, key }) } });
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = (async () => {
    const { transport } = await upgrade(new ConnTransport(await listener.accept(), { clock: systemClock }));
    await transport.write(new TextEncoder().encode("220 smtp.test\r\n"));
    const buffer = new Uint8Array(100);
    const quit = new TextDecoder().decode(buffer.subarray(0, await transport.read(buffer) ?? 0));
    await transport.write(new TextEncoder().encode("221 bye\r\n"));
    transport.close();
    return quit;
  })();
  const dial = createDial({ clock: systemClock, timeout: 10_000 });
  const { port } = listener.addr;
  assert.deepEqual(
    await check(() => dial({ address: "127.0.0.1", port }), {
      target: { host: "smtp.test" },
      port: 465,
      clock: systemClock,
    }),
    ["outward ok"],
  );
  assert.equal(await serving, "QUIT\r\n");
});

Deno.test("checkOutward() tells a blocked port from a machine without a way out, and from a target that is not there", async () => {
  assert.deepEqual(await check(() => Promise.reject(new DeadlineError())), ["outward.blocked failure"]);
  const unreachable = new ConnectionError("network unreachable", { code: "ENETUNREACH" });
  assert.deepEqual(await check(() => Promise.reject(unreachable)), ["outward untested"]);
  const never = () => Promise.reject(new Error("not to be dialled"));
  assert.deepEqual(await check(never, { target: { domain: "gone.test" } }), ["outward untested"]);
  assert.deepEqual(await check(never, { target: { host: "smtp.test" }, families: [6] }), [
    "outward untested",
  ]);
});

Deno.test("checkOutward() knows what stands in the way on each port", async () => {
  const next = async (port: number) => {
    const [finding] = await find(() => Promise.reject(new DeadlineError()), {
      target: { host: "smtp.test" },
      port,
    });
    return finding?.next ?? "";
  };
  assert.match(await next(25), /providers block port 25/);
  assert.match(await next(465), /firewall/);
  assert.match(await next(587), /firewall/);
});
