import assert from "node:assert/strict";
import { type StaticName, StaticResolver } from "../../tests/support/static_resolver.ts";
import { checkIncoming } from "./incoming.ts";

const check = async (names: Readonly<Record<string, StaticName>>, ...zones: string[]) => {
  const lists = zones.map((zone) => ({ zone, action: "junk" as const }));
  const incoming = { resolver: new StaticResolver(names), lists };
  const findings = await checkIncoming({ incoming, hostname: "mx.test", dnsServers: "192.0.2.53" });
  return findings.map(({ id, outcome, subject }) => `${id} ${subject} ${outcome}`);
};

Deno.test("checkIncoming() tells DNS that does not answer serve-in, and lists that are dead", async () => {
  assert.deepEqual(await checkIncoming({ hostname: "mx.test", dnsServers: "192.0.2.53" }), []);
  assert.deepEqual(await check({ "mx.test": { fails: ["cname"] } }, "x.list"), [
    "incoming.dns 192.0.2.53 failure",
  ]);
  const names = {
    "2.0.0.127.alive.list": { a: ["127.0.0.2"] },
    "2.0.0.127.world.list": { a: ["127.0.0.2"] },
    "1.0.0.127.world.list": { a: ["127.0.0.2"] },
    "2.0.0.127.silent.list": { fails: ["a" as const] },
  };
  assert.deepEqual(await check(names, "alive.list", "world.list", "gone.list", "silent.list"), [
    "incoming.dns 192.0.2.53 ok",
    "incoming.list alive.list ok",
    "incoming.list world.list warning",
    "incoming.list gone.list warning",
    "incoming.list silent.list untested",
  ]);
});
