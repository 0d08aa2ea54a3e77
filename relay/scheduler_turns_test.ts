import assert from "node:assert/strict";
import type { OpenEntry } from "./open_entries.ts";
import { settle as quiet } from "../tests/support/fake_clock.ts";
import {
  MINUTE,
  refuse,
  SECOND,
  testOnEachQueue,
  testOnSoleOwner,
  World,
} from "../tests/support/scheduler_world.ts";

testOnEachQueue("Scheduler keeps to the cap of connections per host, over all its domains", async () => {
  await using world = await World.open({ maxConnectionsPerHost: 3 });
  const { network, clock } = world;
  const mx = network.host("mx.shared.test", { delay: 100 });
  for (let d = 0; d < 10; d++) network.domain(`d${d}.test`, ["mx.shared.test"]);
  for (let i = 0; i < 100; i++) await world.send([`u@d${i % 10}.test`]);
  await clock.advance(10 * SECOND);
  assert.equal(mx.taken.length, 100);
  assert.equal(mx.mostOpen, 3);
  assert.equal(world.scheduler.status.ready, 0);
});

testOnEachQueue("Scheduler keeps to the cap of workers and serves destinations in turn", async () => {
  await using world = await World.open({ maxWorkers: 4, maxConnectionsPerHost: 4 });
  const { network, clock } = world;
  const big = network.host("mx.big.test", { delay: SECOND });
  network.domain("big.test", ["mx.big.test"]);
  for (let i = 0; i < 500; i++) await world.send(["u@big.test"]);
  for (let d = 0; d < 5; d++) {
    network.host(`mx.d${d}.test`);
    network.domain(`d${d}.test`, [`mx.d${d}.test`]);
    await world.send([`u@d${d}.test`]);
  }
  await clock.advance(0);
  assert.equal(world.scheduler.status.active, 4);
  await clock.advance(15 * SECOND);
  for (let d = 0; d < 5; d++) assert.equal(network.hosts.get(`mx.d${d}.test`)?.taken.length, 1);
  assert(big.taken.length < 100);
});

testOnEachQueue("Scheduler lets no number of silent domains hold up fresh mail for long", async () => {
  await using world = await World.open({ maxWorkers: 8 });
  const { network, clock } = world;
  for (let d = 0; d < 40; d++) {
    network.host(`mx.s${d}.test`, { state: "silent" });
    network.domain(`s${d}.test`, [`mx.s${d}.test`]);
    await world.send([`u@s${d}.test`]);
  }
  await clock.advance(10 * MINUTE);
  const good = network.host("mx.good.test");
  network.domain("good.test", ["mx.good.test"]);
  for (let i = 0; i < 20; i++) {
    await clock.advance(7 * SECOND);
    await world.send(["u@good.test"]);
    await clock.advance(0);
    assert.equal(good.taken.length, i + 1, `message ${i} waits`);
  }
});

testOnEachQueue(
  "Scheduler shares what was learnt about a dead host, and probes it with one connection",
  async () => {
    await using world = await World.open();
    const { network, clock } = world;
    const mx = network.host("mx.a.test", { state: "silent" });
    network.domain("a.test", ["mx.a.test"]);
    const ids: string[] = [];
    for (let i = 0; i < 50; i++) ids.push(await world.send(["u@a.test"]));
    await clock.advance(31 * SECOND);
    assert(mx.askedAt.length <= 5, `${mx.askedAt.length} connections`);
    const errors = new Set<string | undefined>();
    for (const id of ids) {
      const recipient = world.entry(id)?.recipients[0];
      assert.equal(recipient?.attemptCount, 1);
      errors.add(recipient?.attempts[0]?.error);
    }
    // The same words for all that share a reason.
    assert.deepEqual([...errors].sort(), [
      "connection timed out",
      "connection timed out (seen by an earlier attempt)",
    ]);
    const before = mx.askedAt.length;
    await clock.advance(90 * SECOND);
    assert.equal(mx.askedAt.length, before + 1, "one probe for the whole batch");
    mx.state = "up";
    await clock.advance(6 * MINUTE);
    assert.equal(mx.taken.length, 50);
  },
);

testOnEachQueue("Scheduler holds against no host that one domain's TLS policy forbids it", async () => {
  await using world = await World.open();
  const { network, clock } = world;
  const mx = network.host("mx.shared.test", { state: "forbidden" });
  network.domain("strict.test", ["mx.shared.test"]);
  network.domain("other.test", ["mx.shared.test"]);
  await world.send(["u@strict.test"]);
  await clock.advance(0);
  mx.state = "up";
  await world.send(["u@other.test"]);
  await clock.advance(0);
  assert.deepEqual(mx.taken, [["u@other.test"]]);
});

testOnEachQueue("Scheduler gives a host that answers 4.7.28 a rest, then returns with care", async () => {
  await using world = await World.open();
  const { network, clock } = world;
  let limited = true;
  const mx = network.host("mx.a.test", {
    delay: SECOND,
    answer: () => limited ? refuse("421 4.7.28 unusual rate of mail") : "relay",
  });
  network.domain("a.test", ["mx.a.test"]);
  for (let i = 0; i < 40; i++) await world.send(["u@a.test"]);
  await clock.advance(2 * SECOND);
  const asked = mx.askedAt.length;
  assert(asked <= 5);
  limited = false;
  mx.mostOpen = 0;
  await clock.advance(10 * MINUTE - 2 * SECOND);
  assert.equal(mx.askedAt.length, asked, "no attempt for ten minutes");
  await clock.advance(1500);
  assert.equal(mx.mostOpen, 1, "one connection");
  await clock.advance(20 * MINUTE);
  assert.equal(mx.taken.length, 40);
  assert.equal(world.events("host.slowed").length, 1);
});

testOnEachQueue("Scheduler never sends to the same recipient twice at a time", async () => {
  await using world = await World.open();
  const { network, clock, queue, scheduler } = world;
  const mx = network.host("mx.a.test", { delay: SECOND });
  network.domain("a.test", ["mx.a.test"]);
  const summary = await queue.put(["u@a.test"], { acceptedAt: clock.now() });
  scheduler.submit(summary);
  scheduler.submit(summary);
  await world.change(summary.id, retryAll);
  await clock.advance(10 * SECOND);
  assert.equal(mx.taken.length, 1);
});

testOnSoleOwner("Scheduler.domainStatus() says when a domain is tried next", async () => {
  await using world = await World.open();
  const { network, clock, scheduler } = world;
  network.host("mx.a.test", { state: "refused" });
  network.domain("a.test", ["mx.a.test"]);
  await world.send(["u@a.test"]);
  await quiet();
  const nextAt = clock.now() + MINUTE;
  assert.deepEqual(scheduler.domainStatus("a.test"), {
    waiting: 1,
    ready: 0,
    active: 0,
    resting: false,
    nextAt,
  });
  assert.deepEqual(scheduler.domainStatus("b.test"), { waiting: 0, ready: 0, active: 0, resting: false });
  assert.equal(
    scheduler.inspectHost({ host: "mx.a.test", address: "192.0.2.1", port: 25 })?.forMs,
    5 * SECOND,
  );
});

testOnSoleOwner("Scheduler.change() lets what waits now take the place of what waited before", async () => {
  for (const state of ["refused", "silent"] as const) {
    await using world = await World.open({ maxConnectionsPerHost: 2 });
    const { clock, scheduler } = world;
    const mx = world.network.host("mx.a.test", { state });
    world.network.domain("a.test", ["mx.a.test"]);
    const ids: string[] = [];
    for (let n = 0; n < 50; n++) ids.push(await world.send(["u@a.test", "v@a.test"]));
    await clock.advance(5 * MINUTE);
    const items = () => {
      const { waiting, ready } = scheduler.status;
      return waiting + ready;
    };
    // Each waits for its next attempt, and for the time of its delay notice at most.
    const before = items();
    for (let round = 0; round < 12; round++) {
      for (const id of ids) await world.change(id, retryAll);
      assert(items() <= 2 * before, `${items()} items, ${before} before`);
      await clock.advance(5 * SECOND);
    }
    await clock.advance(5 * MINUTE);
    assert(items() <= 100, `${items()} items of 50 messages`);
    mx.state = "up";
    for (const id of ids) await world.change(id, retryAll);
    scheduler.clearHostBackoff();
    await clock.advance(10 * SECOND);
    assert.equal(mx.taken.length, 50);
    assert.equal(items(), 0);
  }
});

testOnSoleOwner("Scheduler.change() leaves nothing waiting of what is over or held", async () => {
  await using world = await World.open();
  world.network.host("mx.a.test", { state: "refused" });
  world.network.domain("a.test", ["mx.a.test"]);
  const held = await world.send(["u@a.test"]);
  const removed = await world.send(["u@a.test"]);
  await world.clock.advance(0);
  assert.equal(world.scheduler.status.waiting, 2);
  for (const [id, status] of [[held, "held"], [removed, "removed"]] as const) {
    await world.change(id, ({ entry }) => {
      for (const recipient of entry.recipients) recipient.status = status;
    });
  }
  assert.equal(world.scheduler.status.waiting, 0);
  assert.equal(world.scheduler.domainStatus("a.test").waiting, 0);
});

function retryAll({ entry }: OpenEntry): void {
  for (const recipient of entry.recipients) recipient.nextAttemptAt = 0;
}
