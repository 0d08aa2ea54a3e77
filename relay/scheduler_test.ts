import assert from "node:assert/strict";
import type { Refusal } from "./outcome.ts";
import { type RelayNetwork } from "../tests/support/relay_network.ts";
import {
  MINUTE,
  refuse,
  SECOND,
  testOnEachQueue,
  testOnSoleOwner,
  World,
} from "../tests/support/scheduler_world.ts";

testOnEachQueue(
  "Scheduler relays what is submitted at once, in one transaction for all recipients of a domain",
  async () => {
    await using world = await World.open();
    const { network, queue, clock } = world;
    const mx = network.host("mx.a.test");
    const other = network.host("mx.b.test");
    network.domain("a.test", ["mx.a.test"]);
    network.domain("b.test", ["mx.b.test"]);
    await world.send(["1@a.test", "2@b.test", "3@a.test"]);
    await clock.advance(0);
    assert.deepEqual(mx.taken, [["1@a.test", "3@a.test"]]);
    assert.deepEqual(other.taken, [["2@b.test"]]);
    assert.deepEqual(queue.entries, []);
    assert.equal(world.events("attempt.relayed").length, 3);
    assert.equal(mx.open, 0);
  },
);

testOnEachQueue(
  "Scheduler tells of each refusal by a server, for good and for now, and of nothing else",
  async () => {
    const refusals: Refusal[] = [];
    await using world = await World.open({ onRefusal: (refusal) => refusals.push(refusal) });
    const mx = world.network.host("mx.a.test");
    world.network.host("mx.b.test").state = "refused";
    for (const name of ["a", "b"]) world.network.domain(`${name}.test`, [`mx.${name}.test`]);
    for (const reply of ["550 5.7.25 no PTR", "451 4.7.1 come again"]) {
      mx.answer = () => refuse(reply);
      await world.send(["u@a.test", "u@b.test"]);
      await world.clock.advance(0);
    }
    mx.answer = () => "relay";
    await world.send(["u@a.test"]);
    await world.clock.advance(0);
    assert.deepEqual(refusals.map(({ host, status, reply }) => ({ host, status, reply })), [
      { host: "mx.a.test", status: "5.7.25", reply: "550 5.7.25 no PTR" },
      { host: "mx.a.test", status: "4.7.1", reply: "451 4.7.1 come again" },
    ]);
  },
);

testOnEachQueue("Scheduler puts at most 100 recipients into one transaction", async () => {
  await using world = await World.open();
  const mx = world.network.host("mx.a.test");
  world.network.domain("a.test", ["mx.a.test"]);
  await world.send(Array.from({ length: 250 }, (_, i) => `u${i}@a.test`));
  await world.clock.advance(0);
  assert.deepEqual(mx.taken.map((taken) => taken.length), [100, 100, 50]);
  assert.deepEqual(world.queue.entries, []);
});

testOnEachQueue(
  "Scheduler sends what waits for a destination over one connection, at most 100 messages",
  async () => {
    await using world = await World.open({ maxConnectionsPerHost: 1 });
    const mx = world.network.host("mx.a.test", { delay: 10 });
    world.network.domain("a.test", ["mx.a.test"]);
    for (let i = 0; i < 250; i++) await world.send(["u@a.test"]);
    await world.clock.advance(3 * SECOND);
    assert.equal(mx.taken.length, 250);
    assert.equal(mx.connections, 3);
    assert.equal(mx.mostOpen, 1);
  },
);

/** Two messages for each connection that the host takes, which then wait for the next one. */
async function idle(world: World, cap: number): Promise<ReturnType<RelayNetwork["host"]>> {
  const mx = world.network.host("mx.a.test", { delay: 10 });
  for (const domain of ["a.test", "b.test"]) world.network.domain(domain, ["mx.a.test"]);
  for (let i = 0; i < 2 * cap; i++) await world.send(["u@a.test"]);
  await world.clock.advance(20);
  mx.delay = 0;
  assert.deepEqual([mx.taken.length, mx.connections, mx.open], [2 * cap, cap, cap]);
  return mx;
}

testOnEachQueue(
  "Scheduler lets a connection wait two seconds for the next message to the same host, of any domain",
  async () => {
    await using world = await World.open({ maxConnectionsPerHost: 1 });
    const mx = await idle(world, 1);
    for (const domain of ["a.test", "b.test", "a.test"]) {
      await world.clock.advance(1900);
      await world.send([`u@${domain}`]);
      await world.clock.advance(0);
    }
    assert.deepEqual([mx.taken.length, mx.connections, mx.open], [5, 1, 1]);
    await world.clock.advance(2000);
    assert.equal(mx.open, 0);
    assert.deepEqual(world.queue.entries, []);
  },
);

testOnEachQueue(
  "Scheduler lets a connection wait when the host had another message less than two seconds ago",
  async () => {
    await using world = await World.open();
    const mx = world.network.host("mx.a.test");
    for (const domain of ["a.test", "b.test", "c.test"]) world.network.domain(domain, ["mx.a.test"]);
    const send = async (domain: string) => {
      await world.send([`u@${domain}`]);
      await world.clock.advance(0);
      return [mx.connections, mx.open];
    };
    assert.deepEqual(await send("a.test"), [1, 0]);
    await world.clock.advance(1999);
    assert.deepEqual(await send("b.test"), [2, 1]);
    assert.deepEqual(await send("c.test"), [2, 1]);
    await world.clock.advance(2000);
    assert.equal(mx.open, 0);
    assert.deepEqual(await send("a.test"), [3, 0]);
  },
);

testOnEachQueue("Scheduler lets no connection wait after a single message, or after a hundred", async () => {
  await using world = await World.open({ maxConnectionsPerHost: 1 });
  const mx = world.network.host("mx.a.test");
  world.network.domain("a.test", ["mx.a.test"]);
  for (const [messages, connections] of [[1, 1], [100, 2]] as const) {
    for (let i = 0; i < messages; i++) await world.send(["u@a.test"]);
    await world.clock.advance(0);
    assert.deepEqual([mx.connections, mx.open], [connections, 0]);
  }
});

testOnEachQueue(
  "Scheduler ends a connection that waits when its host must be reached under other demands",
  async () => {
    await using world = await World.open({ maxConnectionsPerHost: 1 });
    const mx = await idle(world, 1);
    const worse = world.network.host("mx.b.test");
    world.network.domain("b.test", ["mx.a.test", "mx.b.test"], { tls: "verify" });
    await world.send(["u@b.test"]);
    await world.clock.advance(0);
    assert.deepEqual([mx.taken.length, mx.connections, mx.open], [3, 2, 0]);
    assert.equal(worse.connections, 0);
  },
);

testOnEachQueue("Scheduler does not send over a connection that waits to a paused host", async () => {
  await using world = await World.open({ maxConnectionsPerHost: 2 });
  const mx = await idle(world, 2);
  mx.answer = () => refuse("421 4.7.0 too busy");
  await world.send(["u@b.test"]);
  await world.clock.advance(0);
  assert.equal(world.events("host.slowed").length, 1);
  mx.answer = () => "relay";
  await world.send(["u@a.test"]);
  await world.clock.advance(0);
  assert.deepEqual([mx.taken.length, mx.open], [4, 0]);
  await world.clock.advance(5 * MINUTE);
  assert.equal(mx.taken.length, 6);
});

testOnEachQueue("Scheduler opens a fresh connection where one that waited has ended meanwhile", async () => {
  await using world = await World.open({ maxConnectionsPerHost: 1 });
  const mx = await idle(world, 1);
  const worse = world.network.host("mx.b.test");
  world.network.domain("b.test", ["mx.a.test", "mx.b.test"]);
  mx.stale = true;
  const id = await world.send(["u@b.test"]);
  await world.clock.advance(0);
  assert.deepEqual([mx.taken.length, mx.connections], [3, 2]);
  assert.equal(worse.connections, 0);
  assert.equal(world.entry(id), undefined);
});

testOnEachQueue("Scheduler stopped while connections wait ends them at once", async () => {
  await using world = await World.open({ maxConnectionsPerHost: 1 });
  const mx = await idle(world, 1);
  await world.scheduler.stop(30 * SECOND);
  assert.equal(mx.open, 0);
});

testOnEachQueue(
  "Scheduler sends what goes through a smarthost in one transaction, over one connection",
  async () => {
    await using world = await World.open({ destinationOf: () => "smarthost", maxConnectionsPerHost: 1 });
    const mx = world.network.host("smart.test", { delay: 10 });
    for (const domain of ["a.test", "b.test", "c.test"]) world.network.domain(domain, ["smart.test"]);
    await world.send(["1@a.test", "2@b.test", "3@a.test"]);
    await world.send(["4@c.test"]);
    await world.clock.advance(SECOND);
    assert.deepEqual(mx.taken, [["1@a.test", "2@b.test", "3@a.test"], ["4@c.test"]]);
    assert.equal(mx.connections, 1);
    assert.deepEqual(world.queue.entries, []);
  },
);

testOnSoleOwner(
  "Scheduler.items() tells the age of what waits, and the status of its last attempt",
  async () => {
    await using world = await World.open();
    const { clock, network, scheduler } = world;
    network.host("mx.a.test", { answer: () => refuse("451 4.7.1 later") });
    network.domain("a.test", ["mx.a.test"]);
    network.domain("b.test", ["mx.a.test"]);
    await world.send(["1@a.test", "2@b.test"]);
    await clock.advance(0);
    assert.deepEqual([...scheduler.items()], [{ age: 0, status: "4.7.1" }, { age: 0, status: "4.7.1" }]);
    await clock.advance(20 * SECOND);
    assert.deepEqual([...scheduler.items()].map(({ age }) => age), [20 * SECOND, 20 * SECOND]);
  },
);
