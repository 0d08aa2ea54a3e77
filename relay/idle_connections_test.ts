import assert from "node:assert/strict";
import { FakeClock } from "../tests/support/fake_clock.ts";
import type { LiveConnection } from "./live_connection.ts";
import type { HostSlot } from "./host_slot.ts";
import { IdleConnections } from "./idle_connections.ts";
import type { Target } from "./mx.ts";

const TARGET: Target = {
  host: "smart.test",
  address: "192.0.2.1",
  family: 4,
  port: 587,
  via: "route",
  tls: "verify",
  auth: { user: "u", password: "p" },
  authenticated: true,
};

/** What happens to a connection, in order. */
type Fate = "closed" | "released";

/** A connection that has sent two messages, as where mail flows. */
function connection(
  target: Target,
  { sent = 2, ...slot }: { sent?: number; wanted?: boolean; resting?: boolean } = {},
) {
  const fate: Fate[] = [];
  const unexpected = () => assert.fail("not for a connection in no use");
  const place: HostSlot = {
    resting: () => slot.resting ?? false,
    wanted: () => slot.wanted ?? false,
    contested: () => false,
    connected: unexpected,
    unreachable: unexpected,
    slowDown: unexpected,
    relayed: unexpected,
    release: () => void fate.push("released"),
  };
  const live: LiveConnection = {
    target,
    connection: {
      send: unexpected,
      abort: unexpected,
      close: () => Promise.resolve(void fate.push("closed")),
    },
    slot: place,
    sent,
    usable: true,
  };
  return { live, fate };
}

Deno.test("IdleConnections.take() gives a connection only to the same place under the same demands", () => {
  const { auth: _, ...anonymous } = TARGET;
  const others: Record<string, Target> = {
    "another name": { ...TARGET, host: "other.test" },
    "another address": { ...TARGET, address: "192.0.2.2" },
    "another port": { ...TARGET, port: 465 },
    "another policy": { ...TARGET, tls: "dane" },
    "another word of DNSSEC": { ...TARGET, authenticated: false },
    "another account": { ...TARGET, auth: { user: "v", password: "p" } },
    "another password": { ...TARGET, auth: { user: "u", password: "q" } },
    "no account": anonymous,
  };
  for (const [what, other] of Object.entries(others)) {
    for (const [waiting, wanted] of [[TARGET, other], [other, TARGET]] as const) {
      const idle = new IdleConnections(new FakeClock());
      const { live, fate } = connection(waiting);
      idle.offer(live);
      assert.equal(idle.take(wanted), undefined, what);
      assert.equal(idle.take({ ...waiting }), live, what);
      assert.equal(idle.take(waiting), undefined, `${what}: taken twice`);
      assert.deepEqual(fate, []);
    }
  }
  const same = new IdleConnections(new FakeClock());
  const { live: waiting } = connection(TARGET);
  same.offer(waiting);
  assert.equal(same.take({ ...TARGET, auth: { user: "u", password: "p" } }), waiting);
  // How it was found is no demand: MX hosts of many domains share connections.
  const idle = new IdleConnections(new FakeClock());
  const { live } = connection({ ...anonymous, via: "mx" });
  idle.offer(live);
  assert.equal(idle.take({ ...anonymous, via: "implicit" }), live);
});

Deno.test("IdleConnections.offer() counts as flow only what goes to the same place under the same demands", async () => {
  for (const other of [{ ...TARGET, port: 465 }, { ...TARGET, auth: { user: "v", password: "p" } }]) {
    const idle = new IdleConnections(new FakeClock());
    for (const target of [TARGET, other]) {
      const { live, fate } = connection(target, { sent: 1 });
      idle.offer(live);
      await Promise.resolve();
      assert.equal(fate[0], "closed");
    }
    const { live } = connection(TARGET, { sent: 1 });
    idle.offer(live);
    assert.equal(idle.take(TARGET), live);
  }
});

Deno.test("IdleConnections ends a connection after two seconds, and frees its place when that is over", async () => {
  const clock = new FakeClock();
  const idle = new IdleConnections(clock);
  const { live, fate } = connection(TARGET);
  idle.offer(live);
  await clock.advance(1999);
  assert.deepEqual(fate, []);
  await clock.advance(1);
  assert.deepEqual(fate, ["closed", "released"]);
  assert.equal(idle.take(TARGET), undefined);

  idle.offer(live);
  assert.equal(idle.take(TARGET), live);
  await clock.advance(10_000);
  assert.deepEqual(fate, ["closed", "released"]);
  assert.equal(clock.pending, 0);
});

Deno.test("IdleConnections keeps none whose place is wanted, and gives none to a host that has a rest", async () => {
  const clock = new FakeClock();
  const idle = new IdleConnections(clock);
  const wanted = connection(TARGET, { wanted: true });
  idle.offer(wanted.live);
  await clock.advance(0);
  assert.deepEqual(wanted.fate, ["closed", "released"]);
  const resting = connection(TARGET, { resting: true });
  idle.offer(resting.live);
  assert.equal(idle.take(TARGET), undefined);
  await clock.advance(0);
  assert.deepEqual(resting.fate, ["closed", "released"]);
  assert.equal(clock.pending, 0);
});

Deno.test("IdleConnections.makeRoom() ends those to the same host and port, whatever the demands", async () => {
  const clock = new FakeClock();
  const idle = new IdleConnections(clock);
  const same = [TARGET, { ...TARGET, address: "192.0.2.2" }, { ...TARGET, tls: "dane" as const }]
    .map((target) => connection(target));
  const elsewhere = [{ ...TARGET, port: 465 }, { ...TARGET, host: "other.test" }]
    .map((target) => connection(target));
  for (const { live } of [...same, ...elsewhere]) idle.offer(live);
  assert.equal(idle.makeRoom(TARGET), true);
  assert.equal(idle.makeRoom(TARGET), false);
  await clock.advance(0);
  for (const { fate } of same) assert.deepEqual(fate, ["closed", "released"]);
  for (const { fate } of elsewhere) assert.deepEqual(fate, []);
  idle.clear();
  await clock.advance(0);
  for (const { fate } of elsewhere) assert.deepEqual(fate, ["closed", "released"]);
  assert.equal(clock.pending, 0);
});

Deno.test("IdleConnections lets a hundred wait, and then ends the one that has waited longest", async () => {
  const clock = new FakeClock();
  const idle = new IdleConnections(clock);
  const all = Array.from({ length: 101 }, (_, i) => connection({ ...TARGET, host: `h${i}.test` }));
  for (const { live } of all) idle.offer(live);
  await clock.advance(0);
  assert.deepEqual(all.flatMap(({ fate }, i) => fate.length > 0 ? [i] : []), [0]);
  idle.clear();
  await clock.advance(0);
  assert.ok(all.every(({ fate }) => fate.join() === "closed,released"));
});
