// Two schedulers on one queue with several owners, which is in memory.
import assert from "node:assert/strict";
import type { FakeHost } from "../tests/support/relay_network.ts";
import { settle as quiet } from "../tests/support/fake_clock.ts";
import { SharedMemoryQueue } from "../tests/support/shared_memory_queue.ts";
import { DAY, HOUR, MINUTE, refuse, SECOND, World } from "../tests/support/scheduler_world.ts";

interface Worlds extends AsyncDisposable {
  readonly first: World;
  readonly second: World;
  readonly mx: FakeHost;
  readonly queues: readonly SharedMemoryQueue[];
}

/** Two owners of one queue, and a host for a.test. */
async function twoWorlds(host: Partial<FakeHost> = {}): Promise<Worlds> {
  const first = new World({}, { sharedWith: "nobody" });
  const second = new World({}, { sharedWith: first });
  await second.scheduler.start();
  const mx = first.network.host("mx.a.test", host);
  first.network.domain("a.test", ["mx.a.test"]);
  return {
    mx,
    first,
    second,
    queues: [first, second].map(({ queue }) => queue as SharedMemoryQueue),
    [Symbol.asyncDispose]: async () => {
      await first[Symbol.asyncDispose]();
      await second[Symbol.asyncDispose]();
    },
  };
}

Deno.test("Scheduler gives back what waits, and either of two owners sends it, once", async () => {
  await using worlds = await twoWorlds({ answer: () => refuse("450 4.2.0 later") });
  const { mx, first, second } = worlds;
  for (let i = 0; i < 10; i++) await first.send([`u${i}@a.test`]);
  await first.clock.advance(0);
  assert.deepEqual(first.scheduler.status, { waiting: 0, ready: 0, active: 0 });
  mx.answer = () => "relay";
  await first.scheduler.stop(0);
  await first.clock.advance(MINUTE);
  assert.equal(mx.taken.flat().length, 10);
  assert.equal(new Set(mx.taken.flat()).size, 10);
  assert.deepEqual(second.queue.entries, []);
});

Deno.test("Scheduler tells of a delay and of the end of an entry that it was offered", async () => {
  await using worlds = await twoWorlds({ answer: () => refuse("450 4.2.0 later") });
  const { first } = worlds;
  const home = first.network.host("mx.example.org");
  first.network.domain("example.org", ["mx.example.org"]);
  await first.send(["u@a.test"]);
  await first.clock.advance(5 * HOUR);
  assert.deepEqual(first.notices.map(({ kind }) => kind), ["delay"]);
  await first.clock.advance(6 * DAY);
  assert.deepEqual(first.notices.map(({ kind }) => kind), ["delay", "failure"]);
  assert.equal(home.taken.length, 2);
  assert.deepEqual(first.queue.entries, []);
});

Deno.test("Scheduler that has lost its entries stops before the dot, and changes nothing more", async () => {
  await using worlds = await twoWorlds();
  const { mx, first, second, queues } = worlds;
  const [asleep] = queues;
  // It sleeps before it can write the dot down, and its lease runs out.
  let sleeping = true;
  first.queue.before = ({ kind }) => {
    if (kind !== "dotSent" || !sleeping) return;
    sleeping = false;
    asleep?.expire();
  };
  const id = await first.send(["u@a.test"]);
  await first.clock.advance(0);
  assert.deepEqual(mx.taken, [["u@a.test"]]);
  assert.deepEqual(first.events("attempt.relayed"), []);
  assert.equal(second.events("attempt.relayed").length, 1);
  assert.equal(second.events("attempt.relayed")[0]?.id, id);
  asleep?.revive();
  await first.clock.advance(HOUR);
  assert.deepEqual(mx.taken, [["u@a.test"]]);
  assert.deepEqual(first.queue.entries, []);
  assert.deepEqual(first.scheduler.status, { waiting: 0, ready: 0, active: 0 });
});

Deno.test("Scheduler waits where another owner has left a dot without an answer, and records it", async () => {
  await using worlds = await twoWorlds({ delay: 30 * SECOND });
  const { mx, first, second, queues } = worlds;
  await first.send(["u@a.test"]);
  await first.clock.advance(SECOND);
  queues[0]?.expire();
  await first.clock.advance(40 * SECOND);
  // The first one had its answer, which it could not write down.
  assert.equal(mx.taken.length, 1);
  const [entry] = second.queue.entries;
  assert.equal(entry?.recipients[0]?.attempts[0]?.dotSentNoReply, true);
  await first.clock.advance(2 * MINUTE);
  assert.equal(mx.taken.length, 2);
  assert.deepEqual(first.queue.entries, []);
});

Deno.test("Scheduler writes no second notice where another owner has sent the first", async () => {
  await using worlds = await twoWorlds({ answer: () => refuse("550 5.1.1 no such user") });
  const { first, second, queues } = worlds;
  const home = first.network.host("mx.example.org");
  first.network.domain("example.org", ["mx.example.org"]);
  // Its lease runs out when the notice is in the queue, before that is noted in the entry.
  let updates = 0;
  first.queue.before = ({ kind }) => {
    if (kind !== "update" || ++updates < 2) return;
    queues[0]?.expire();
  };
  await first.send(["u@a.test"]);
  await first.clock.advance(HOUR);
  assert.equal(first.notices.length, 1);
  assert.equal(home.taken.length, 1);
  assert.deepEqual(second.queue.entries, []);
});

Deno.test("Scheduler forgets all that waits when it has lost its entries", async () => {
  await using worlds = await twoWorlds({ delay: 10 * SECOND });
  const { first, second, queues } = worlds;
  for (let i = 0; i < 100; i++) await first.send([`u${i}@a.test`]);
  await first.clock.advance(0);
  assert(first.scheduler.status.ready > 50);
  queues[0]?.expire();
  await quiet();
  queues[0]?.revive();
  await quiet();
  assert.equal(first.scheduler.status.ready, 0);
  await first.clock.advance(HOUR);
  assert.deepEqual(second.queue.entries, []);
});
