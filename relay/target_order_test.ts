import assert from "node:assert/strict";
import { silentLogger } from "../base/log.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { FakeServer, fakeUpgrade } from "../tests/support/fake_server.ts";
import { World } from "../tests/support/scheduler_world.ts";
import { StaticResolver } from "../tests/support/static_resolver.ts";
import { findTargets } from "./mx.ts";
import { PeerMemory } from "./peer_memory.ts";
import type { Target } from "./target.ts";
import { alternatesOf } from "./target_order.ts";
import { HostConnection } from "./transmit.ts";

function target(host: string, address: string, more: Partial<Target> = {}): Target {
  const family = address.includes(":") ? 6 : 4;
  return { host, address, family, port: 25, via: "mx", tls: "prefer", authenticated: false, ...more };
}

const FIRST = target("a.test", "2001:db8::1");
const SAME_HOST = target("a.test", "192.0.2.1");
const AS_GOOD = target("b.test", "192.0.2.2");
const WORSE = target("c.test", "192.0.2.3", { rank: 1 });

Deno.test("alternatesOf() has the host's other addresses first, then hosts that are as good, never worse ones", () => {
  const all = [FIRST, AS_GOOD, WORSE, SAME_HOST];
  assert.deepEqual(alternatesOf(FIRST, all).filter((one) => one !== FIRST), [SAME_HOST, AS_GOOD]);
  const other = target("d.test", "192.0.2.4", { rank: 1 });
  assert.deepEqual(alternatesOf(WORSE, [...all, other]), [WORSE, other]);
});

Deno.test("alternatesOf() has no host of which other things are asked, and only mail exchangers", () => {
  const others = [
    { ...AS_GOOD, tls: "verify" as const },
    { ...AS_GOOD, port: 26 },
    { ...AS_GOOD, via: "implicit" as const },
    {
      ...AS_GOOD,
      sts: { domain: "x.test", mode: "enforce" as const, allowed: false } as NonNullable<Target["sts"]>,
    },
  ];
  assert.deepEqual(alternatesOf(FIRST, [FIRST, ...others]), [FIRST]);
  for (const via of ["route", "local"] as const) {
    const [one, two] = [{ ...FIRST, via }, { ...AS_GOOD, via }];
    assert.deepEqual(alternatesOf(one, [one, two]), [one]);
  }
});

Deno.test("findTargets() tells which MX hosts are as good as each other", async () => {
  const found = await findTargets("a.test", {
    resolver: new StaticResolver({
      "a.test": {
        mx: [[10, "one.test"], [10, "two.test"], [20, "three.test"], [30, "four.test"]].map((
          [preference, exchange],
        ) => ({ preference: Number(preference), exchange: String(exchange) })),
      },
      "one.test": { a: ["192.0.2.1"] },
      "two.test": { a: ["192.0.2.2"] },
      "three.test": { a: ["192.0.2.3"] },
      "four.test": { a: ["192.0.2.4"] },
    }),
    family: "auto",
    port: 25,
    allowPrivateTargets: true,
    hostname: "client.test",
    ownListeners: [],
    routes: new Map(),
    tlsPolicy: new Map(),
    random: () => 0,
    logger: silentLogger,
  });
  assert.ok(found.kind === "targets");
  assert.deepEqual(found.targets.map(({ rank = 0 }) => rank), [0, 0, 1, 2]);
});

/** Opens a connection to {@linkcode FIRST}, which is silent, with {@linkcode AS_GOOD} beside it. */
async function openBeside(
  { first = {}, other = {}, dane }: {
    readonly first?: Partial<Target>;
    readonly other?: Partial<Target>;
    readonly dane?: StaticResolver;
  },
) {
  const clock = new FakeClock();
  const server = new FakeServer({ clock });
  const names: string[] = [];
  const upgrade = fakeUpgrade({ authorized: true });
  const asGood = { ...AS_GOOD, ...other };
  const rest = [asGood];
  const opening = HostConnection.open({ ...FIRST, ...first }, {
    hostname: "client.test",
    clock,
    timeouts: { command: 300_000, data: 180_000, dataEnd: 600_000 },
    dial: ({ address }) =>
      address === asGood.address ? Promise.resolve(server.connect()) : new Promise(() => {}),
    upgrade: (transport, options) => {
      names.push(options.servername);
      return upgrade(transport, options);
    },
    peers: new PeerMemory(clock),
    logger: silentLogger,
    alternate: () => rest.shift(),
    ...(dane && { daneResolver: dane }),
  });
  await clock.advance(2000);
  const opened = await opening;
  return { opened, names, server };
}

Deno.test("HostConnection.open() goes to another host by that host's name", async () => {
  const { opened, names } = await openBeside({});
  assert.ok(opened.kind === "open");
  assert.equal(opened.target?.host, "b.test");
  assert.deepEqual(names, ["b.test"]);
  assert.deepEqual(opened.unanswered?.map(({ target, silent }) => [target.host, silent]), [["a.test", true]]);
  await opened.connection.close();
});

Deno.test("HostConnection.open() asks of another host what DNSSEC asks of that host", async () => {
  const wrong = { usage: 3, selector: 1, matchingType: 1, data: new Uint8Array(32) };
  const signed = { authenticated: true };
  const dane = new StaticResolver({
    "_25._tcp.b.test": { tlsa: [wrong], authenticated: true },
  });
  const { opened } = await openBeside({ first: signed, other: signed, dane });
  assert.ok(opened.kind === "unavailable");
  assert.equal(opened.target?.host, "b.test");
  assert.match(opened.attempt.error ?? "", /not the one that DNSSEC names/);
  const unknown = new StaticResolver({ "_25._tcp.b.test": { fails: ["tlsa"] } });
  const failing = await openBeside({ first: signed, other: signed, dane: unknown });
  assert.ok(failing.opened.kind === "unavailable");
  assert.equal(failing.opened.attempt.status, "4.4.3");
  assert.deepEqual(failing.server.commands.slice(1), []);
});

Deno.test("Scheduler goes to an MX host that is as good while the first one is silent, within its cap", async () => {
  const opened: string[] = [];
  await using world: World = new World({
    route: () => Promise.resolve({ kind: "targets", targets: [FIRST, AS_GOOD, WORSE] }),
    connect: async (asked, options) => {
      opened.push(asked.host);
      if (asked !== FIRST) return await world.network.connect(asked, options);
      const other = options.alternate?.();
      assert.equal(options.alternate?.(), undefined, "no worse host");
      if (other === undefined) return await world.network.connect(asked, options);
      const there = await world.network.connect(other, options);
      assert.ok(there.kind === "open");
      const at = world.clock.now();
      const attempt = { at, host: asked.host, address: asked.address, error: "silent", status: "4.4.1" };
      return { ...there, target: other, unanswered: [{ target: asked, silent: true, attempt }] };
    },
  });
  const taken = world.network.host("b.test", { address: "192.0.2.2" });
  world.network.host("c.test", { address: "192.0.2.3" });
  await world.send(["u@a.test"]);
  await world.clock.advance(0);
  assert.deepEqual(taken.taken, [["u@a.test"]]);
  assert.deepEqual(opened, ["a.test"]);
  assert.deepEqual(world.queue.entries, []);
  assert.deepEqual(world.events("host.dead").map(({ host }) => host), ["a.test"]);
});
