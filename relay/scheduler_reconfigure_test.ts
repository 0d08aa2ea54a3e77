import assert from "node:assert/strict";
import { HOUR, MINUTE, refuse, SECOND, testOnEachQueue, World } from "../tests/support/scheduler_world.ts";
import { SCHEDULE } from "../tests/support/retry_schedule.ts";
import type { SchedulerSettings } from "./scheduler_options.ts";

/** The settings of a world, with changes. */
function settings({ network }: World, changes: Partial<SchedulerSettings> = {}): SchedulerSettings {
  return { schedule: SCHEDULE, route: network.route, connect: network.connect, ...changes };
}

testOnEachQueue(
  "Scheduler.reconfigure() leads waiting messages to where the new settings say, when they are due",
  async () => {
    await using world = await World.open();
    const { network, clock, scheduler } = world;
    network.host("mx.test", { answer: () => refuse("450 4.2.0 later") });
    const smarthost = network.host("smarthost.test");
    for (const domain of ["a.test", "b.test"]) network.domain(domain, ["mx.test"]);
    await world.send(["1@a.test", "2@b.test"]);
    await clock.advance(SECOND);
    for (const domain of ["a.test", "b.test"]) network.domain(domain, ["smarthost.test"]);
    scheduler.reconfigure(settings(world, { destinationOf: () => "route *" }));
    assert.equal(smarthost.taken.length, 0);
    await clock.advance(MINUTE + 10 * SECOND);
    assert.deepEqual(smarthost.taken.flat().sort(), ["1@a.test", "2@b.test"]);
    assert.deepEqual(world.queue.entries, []);
    assert.equal(scheduler.status.waiting, 0);
  },
);

testOnEachQueue(
  "Scheduler.reconfigure() loses no recipient where one destination becomes several",
  async () => {
    await using world = await World.open({ destinationOf: () => "route *" });
    const { network, clock, scheduler } = world;
    const smarthost = network.host("smarthost.test", { answer: () => refuse("450 4.2.0 later") });
    for (const domain of ["a.test", "b.test", "c.test"]) network.domain(domain, ["smarthost.test"]);
    await world.send(["1@a.test", "2@b.test", "3@c.test"]);
    await clock.advance(SECOND);
    const hosts = ["a", "b"].map((name) => {
      const host = network.host(`mx.${name}.test`);
      network.domain(`${name}.test`, [`mx.${name}.test`]);
      return host;
    });
    smarthost.answer = () => "relay";
    scheduler.reconfigure(
      settings(world, { destinationOf: (domain) => domain === "c.test" ? "route *" : domain }),
    );
    await clock.advance(MINUTE + 10 * SECOND);
    assert.deepEqual(hosts.map(({ taken }) => taken), [[["1@a.test"]], [["2@b.test"]]]);
    assert.deepEqual(smarthost.taken, [["3@c.test"]]);
    assert.deepEqual(world.queue.entries, []);
  },
);

testOnEachQueue(
  "Scheduler.reconfigure() reaches what is in flight, what is parked and what stands in line",
  async () => {
    await using world = await World.open({ maxConnectionsPerHost: 1 });
    const { network, clock, scheduler } = world;
    const slow = network.host("slow.test", { delay: 10 * SECOND, answer: () => refuse("450 4.2.0 later") });
    const smarthost = network.host("smarthost.test");
    network.domain("a.test", ["slow.test"]);
    network.domain("b.test", ["slow.test"]);
    for (let i = 0; i < 5; i++) await world.send([`${i}@a.test`, `${i}@b.test`]);
    await clock.advance(SECOND);
    assert.equal(slow.open, 1);
    for (const domain of ["a.test", "b.test"]) network.domain(domain, ["smarthost.test"]);
    scheduler.reconfigure(settings(world, { destinationOf: () => "route *" }));
    await clock.advance(2 * MINUTE);
    assert.deepEqual(
      smarthost.taken.flat().sort(),
      Array.from({ length: 5 }, (_, i) => [`${i}@a.test`, `${i}@b.test`]).flat(),
    );
    assert.deepEqual(slow.taken, []);
    assert.deepEqual(world.queue.entries, []);
  },
);

testOnEachQueue("Scheduler.reconfigure() sends nothing more over connections of before", async () => {
  await using world = await World.open({ maxConnectionsPerHost: 1 });
  const { network, clock, scheduler } = world;
  const mx = network.host("mx.test", { delay: SECOND });
  network.domain("a.test", ["mx.test"]);
  for (let i = 0; i < 6; i++) await world.send([`${i}@a.test`]);
  await clock.advance(2500);
  assert.equal(mx.connections, 1);
  scheduler.reconfigure(settings(world, { maxConnectionsPerHost: 1 }));
  await clock.advance(10 * SECOND);
  assert.equal(mx.connections, 2);
  assert.equal(mx.taken.length, 6);
});

testOnEachQueue("Scheduler.reconfigure() goes by the new cap and the new schedule", async () => {
  await using world = await World.open({ maxConnectionsPerHost: 1 });
  const { network, clock, scheduler } = world;
  const mx = network.host("mx.test", { delay: SECOND });
  network.domain("a.test", ["mx.test"]);
  for (let i = 0; i < 30; i++) await world.send([`${i}@a.test`]);
  await clock.advance(1500);
  assert.equal(mx.mostOpen, 1);
  scheduler.reconfigure(settings(world, { maxConnectionsPerHost: 3 }));
  await clock.advance(20 * SECOND);
  assert.equal(mx.mostOpen, 3);
  mx.answer = () => refuse("450 4.2.0 later");
  mx.askedAt.splice(0);
  scheduler.reconfigure(settings(world, { schedule: { ...SCHEDULE, delays: [HOUR] } }));
  await world.send(["late@a.test"]);
  await clock.advance(59 * MINUTE);
  assert.equal(mx.askedAt.length, 1);
  await clock.advance(10 * MINUTE);
  assert.equal(mx.askedAt.length, 2);
});

testOnEachQueue("Scheduler.reconfigure() loses nothing that is just being read or stored", async () => {
  for (const step of ["load", "update"] as const) {
    await using world = await World.open();
    const { network, clock, scheduler, queue } = world;
    network.host("mx.test", { answer: () => refuse("450 4.2.0 later") });
    const smarthost = network.host("smarthost.test");
    network.domain("a.test", ["mx.test"]);
    const held = Promise.withResolvers<void>();
    if (step === "update") queue.before = (change) => change.kind === "update" ? held.promise : undefined;
    else {
      const load = queue.load.bind(queue);
      queue.load = async (id) => {
        await held.promise;
        return await load(id);
      };
    }
    await world.send(["u@a.test"]);
    await clock.advance(SECOND);
    network.domain("a.test", ["smarthost.test"]);
    scheduler.reconfigure(settings(world, { destinationOf: () => "route *" }));
    held.resolve();
    await clock.advance(2 * MINUTE);
    assert.deepEqual(smarthost.taken, [["u@a.test"]], step);
    assert.deepEqual(queue.entries, []);
  }
});
