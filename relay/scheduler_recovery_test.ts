import assert from "node:assert/strict";
import { settle as quiet } from "../tests/support/fake_clock.ts";
import { silentLogger } from "../base/log.ts";
import { type OperatorAction, QueueOperator } from "./operator.ts";
import type { QueueRecipient } from "./queue_entry.ts";
import {
  HOUR,
  MINUTE,
  refuse,
  SECOND,
  testInMemory,
  testOnEachQueue,
  testOnSoleOwner,
  World,
} from "../tests/support/scheduler_world.ts";

testOnEachQueue("Scheduler stopped in mid-message lets it finish within the grace period", async () => {
  const world = await World.open();
  const mx = world.network.host("mx.a.test", { delay: 5 * SECOND });
  world.network.domain("a.test", ["mx.a.test"]);
  await world.send(["u@a.test"]);
  await world.clock.advance(0);
  const stopped = world.scheduler.stop(10 * SECOND);
  const late = await world.send(["v@a.test"]);
  await world.clock.advance(5 * SECOND);
  await stopped;
  assert.deepEqual(mx.taken, [["u@a.test"]]);
  assert.deepEqual(world.queue.entries.map(({ id }) => id), [late]);
  assert.equal(world.clock.pending, 0);
});

testOnEachQueue(
  "Scheduler stopped with the grace period over leaves what had not come to its dot as it was",
  async () => {
    const world = await World.open();
    const mx = world.network.host("mx.a.test", { delay: HOUR, answer: () => refuse("450 4.2.0 later") });
    world.network.domain("a.test", ["mx.a.test"]);
    const id = await world.send(["u@a.test"]);
    await world.clock.advance(0);
    const stopped = world.scheduler.stop(10 * SECOND);
    await world.clock.advance(10 * SECOND);
    await stopped;
    assert.equal(world.entry(id)?.recipients[0]?.attemptCount, 0);
    assert.equal(mx.open, 0);
    assert.equal(world.clock.pending, 0);
  },
);

testOnEachQueue(
  "Scheduler sends nothing more while it cannot write down who has a message, and nothing twice",
  async () => {
    await using world = await World.open({ maxConnectionsPerHost: 1 });
    const { network, clock, queue } = world;
    const mx = network.host("mx.a.test");
    network.domain("a.test", ["mx.a.test"]);
    let full = true;
    queue.before = ({ kind }) => {
      if (full && (kind === "dotAnswered" || kind === "remove")) throw new Error("no space left on device");
    };
    for (let i = 0; i < 20; i++) await world.send(["u@a.test"]);
    await clock.advance(MINUTE);
    assert(mx.taken.length <= 2, `${mx.taken.length} sent`);
    full = false;
    await clock.advance(MINUTE);
    assert.equal(mx.taken.length, 20);
    assert.deepEqual(queue.entries, []);
  },
);

testOnSoleOwner(
  "Scheduler lets no message that cannot be stored hold up others, and stores it once there is room",
  async () => {
    await using world = await World.open({ maxConnectionsPerHost: 1, maxWorkers: 4 });
    const { network, clock, queue } = world;
    const mx = network.host("mx.a.test", { answer: () => refuse("450 4.2.0 not yet") });
    const home = network.host("mx.example.org");
    network.domain("a.test", ["mx.a.test"]);
    network.domain("example.org", ["mx.example.org"]);
    const ids: string[] = [];
    for (let i = 0; i < 30; i++) {
      ids.push((await queue.put(["u@a.test", "v@a.test"], { acceptedAt: clock.now() })).id);
    }
    let full = true;
    // No file can be made; what is written into the journal fits.
    queue.before = ({ kind }) => {
      if (full && (kind === "update" || kind === "add")) throw new Error("no space left on device");
    };
    await world.scheduler.start();
    await clock.advance(30 * SECOND);
    // Each was tried, and waits for its next attempt though nothing could be written.
    assert.equal(world.events("attempt.deferred").length, 60);
    assert.equal(world.entry(ids[0] ?? "")?.recipients[0]?.attemptCount, 0);
    assert.equal(world.events("queue.store_failed").length, 30);
    // Half of it leaves without any room, the other half fails for good, of which a notice must tell.
    mx.answer = (recipient) => recipient.startsWith("u") ? "relay" : refuse("550 5.1.1 no such user");
    await clock.advance(2 * MINUTE);
    assert.equal(mx.taken.length, 30);
    assert.deepEqual(home.taken, []);
    full = false;
    await clock.advance(MINUTE);
    assert.equal(mx.taken.length, 30);
    assert.deepEqual(
      world.notices.slice(-30).map(({ recipients }) => recipients),
      ids.map(() => ["v@a.test"]),
    );
    assert.equal(home.taken.length, 30);
    assert.deepEqual(queue.entries, []);
    assert.equal(world.scheduler.entries.size, 0);
    assert.equal(world.events("queue.store_failed").length, 30);
  },
);

testOnEachQueue("Scheduler does what an operator asks of it though nothing can be stored", async () => {
  await using world = await World.open();
  const { network, clock, queue } = world;
  const mx = network.host("mx.a.test", { state: "refused" });
  network.domain("a.test", ["mx.a.test"]);
  const sent = await world.send(["u@a.test"]);
  const held = await world.send(["u@a.test"]);
  await clock.advance(0);
  queue.before = ({ kind }) => {
    if (kind === "update") throw new Error("no space left on device");
  };
  mx.state = "up";
  const change = (id: string, changes: Partial<QueueRecipient>) =>
    world.change(id, ({ entry }) => {
      for (const recipient of entry.recipients) Object.assign(recipient, changes);
    });
  world.scheduler.clearHostBackoff();
  assert.equal(await change(held, { status: "held" }), false);
  assert.equal(await change(sent, { nextAttemptAt: 0 }), false);
  await clock.advance(10 * MINUTE);
  assert.equal(mx.taken.length, 1);
  queue.before = () => {};
  await clock.advance(MINUTE);
  assert.deepEqual(queue.entries.map(({ id, recipients }) => [id, recipients[0]?.status]), [[held, "held"]]);
});

testOnSoleOwner("Scheduler stopped while nothing can be stored ends at once, and loses nothing", async () => {
  const world = await World.open({ maxConnectionsPerHost: 1 });
  const { network, clock, queue } = world;
  const mx = network.host("mx.a.test", { delay: 10 });
  mx.answer = (recipient) => recipient.startsWith("u") ? "relay" : refuse("450 4.2.0 later");
  network.domain("a.test", ["mx.a.test"]);
  const ids: string[] = [];
  for (const name of ["v", "w", "u", "x"]) ids.push(await world.send([`${name}@a.test`]));
  await quiet();
  // From the first answer on.
  queue.before = ({ kind }) => {
    if (kind !== "dotSent") throw new Error("read-only file system");
  };
  await clock.advance(MINUTE / 2);
  assert.equal(mx.taken.length, 1);
  await world.scheduler.stop(30 * SECOND);
  assert.equal(clock.pending, 0);
  assert.deepEqual(queue.entries.map(({ id }) => id), ids);
  assert.deepEqual(world.events("queue.error"), []);
});

testInMemory("Scheduler reads again what it could not read at the start, and sends it", async () => {
  await using world = await World.open();
  const { network, clock, queue, scheduler } = world;
  const mx = network.host("mx.a.test");
  network.domain("a.test", ["mx.a.test"]);
  const seen = await queue.put(["seen@a.test"]);
  const rest = [await queue.put(["u@a.test"]), await queue.put(["v@a.test"])];
  let readable = 0;
  let tries = 0;
  Object.assign(queue, {
    async *scan() {
      yield seen;
      throw new Error("EIO");
    },
    async *scanRest() {
      tries++;
      yield* rest.splice(0, readable);
      if (rest.length > 0) throw new Error("EIO");
    },
  });
  await assert.rejects(scheduler.start(), /EIO/);
  await clock.advance(30 * SECOND);
  assert.deepEqual(mx.taken, [["seen@a.test"]]);
  readable = 1;
  await clock.advance(30 * SECOND);
  assert.deepEqual(mx.taken.flat(), ["seen@a.test", "u@a.test"]);
  await clock.advance(2 * MINUTE);
  assert.deepEqual(mx.taken.flat(), ["seen@a.test", "u@a.test", "v@a.test"]);
  await clock.advance(24 * HOUR);
  assert.equal(tries, 2);
  assert.equal(world.events("queue.scanned").at(-1)?.["entries"], 1);
});

testOnEachQueue(
  "Scheduler killed at any change on disk loses nothing, doubles at most one message, and no notice",
  async () => {
    // Each message: one recipient relayed, one refused, so that a notice follows.
    const run = async (crashAt: number) => {
      const first = await World.open();
      const { network, clock } = first;
      const mx = network.host("mx.a.test", {
        answer: (recipient) => recipient.startsWith("bad") ? refuse("550 5.1.1 unknown") : "relay",
      });
      const home = network.host("mx.example.org");
      network.domain("a.test", ["mx.a.test"]);
      network.domain("example.org", ["mx.example.org"]);
      let left = crashAt + 1;
      let crashed = false;
      first.queue.before = () => {
        if (left-- > 0) return;
        crashed = true;
        return new Promise(() => {});
      };
      await first.send(["good@a.test", "bad@a.test"]);
      await clock.advance(0);
      if (!crashed) return undefined;
      await using second = await first.crash();
      await second.scheduler.start();
      await clock.advance(HOUR);
      assert.deepEqual(second.queue.entries, [], `crash at change ${crashAt}`);
      return { relayed: mx.taken.length, notices: home.taken.length };
    };
    const counts: { relayed: number; notices: number }[] = [];
    for (let crashAt = 0;; crashAt++) {
      const result = await run(crashAt);
      if (result === undefined) break;
      counts.push(result);
      assert(
        result.relayed >= 1 && result.relayed <= 2,
        `crash at change ${crashAt}: relayed ${result.relayed}`,
      );
    }
    assert(counts.length >= 8, `${counts.length} changes`);
    const doubles = counts.filter(({ relayed }) => relayed === 2);
    assert(doubles.length <= 1, "only between the reply and its record");
    for (const [at, { notices }] of counts.entries()) {
      // The notice is a message like any other: after its dot and before the record of the reply it may be sent again.
      assert(notices >= 1 && notices <= 2, `crash at change ${at}: ${notices} notices`);
    }
    assert(counts.filter(({ notices }) => notices === 2).length <= 1);
  },
);

testOnEachQueue(
  "Scheduler sends no notice found at the start before it knows that none of them is half done",
  async () => {
    const first = await World.open();
    const home = first.network.host("mx.example.org");
    first.network.domain("example.org", ["mx.example.org"]);
    const { id: notice } = await first.queue.put(["sender@example.org"], { reversePath: "" });
    await first.queue.put([{ address: "u@a.test", status: "failed", notice }]);
    await using second = await first.crash();
    const scan = second.queue.scan.bind(second.queue);
    second.queue.scan = async function* () {
      for await (const summary of scan()) {
        yield summary;
        // The scan of a long queue takes longer than sending.
        await quiet();
      }
    };
    await second.scheduler.start();
    await second.clock.advance(0);
    assert.deepEqual(second.notices, []);
    assert.deepEqual(home.taken, [["sender@example.org"]]);
    assert.deepEqual(second.queue.entries, []);
  },
);

testInMemory("Scheduler sends no such notice either when an operator wants it tried at once", async () => {
  const first = await World.open();
  const home = first.network.host("mx.example.org");
  first.network.domain("example.org", ["mx.example.org"]);
  const { id: notice } = await first.queue.put(["sender@example.org"], { reversePath: "" });
  await first.queue.put([{ address: "u@a.test", status: "failed", notice }]);
  await using second = await first.crash();
  const scan = second.queue.scan.bind(second.queue);
  second.queue.scan = async function* () {
    // The operator is there before either is read, and again between the two.
    await second.change(notice, () => {});
    for await (const summary of scan()) {
      await quiet();
      yield summary;
      await second.change(notice, () => {});
      await quiet();
    }
  };
  await second.scheduler.start();
  await second.clock.advance(0);
  assert.deepEqual(second.notices, []);
  assert.deepEqual(home.taken, [["sender@example.org"]]);
  assert.deepEqual(second.queue.entries, []);
});

testOnSoleOwner(
  "a notice that may be half done is not removed or returned while the queue is still being read",
  async () => {
    const first = await World.open();
    first.network.host("mx.example.org");
    first.network.domain("example.org", ["mx.example.org"]);
    const { id: notice } = await first.queue.put(["sender@example.org"], { reversePath: "" });
    const { id: other } = await first.queue.put(["v@example.org"], { reversePath: "w@example.org" });
    await first.queue.put([{ address: "u@a.test", status: "failed", notice }]);
    await using second = await first.crash();
    const { scheduler, clock, queue } = second;
    const operator = new QueueOperator({
      queue,
      entries: scheduler.entries,
      clock,
      logger: silentLogger,
      change: (opened) => scheduler.change(opened),
      mayBeHalfDone: (entry) => scheduler.mayBeHalfDone(entry),
    });
    const apply = (action: OperatorAction, id: string) =>
      Array.fromAsync(operator.apply(action, { ids: [id] }));
    for (const action of ["remove", "bounce"] as const) {
      const [result] = await apply(action, notice);
      assert.deepEqual(result?.changed, []);
      assert.deepEqual(result?.leftAlone, ["sender@example.org"]);
      assert.match(result?.note ?? "", /may be half done/);
    }
    assert.deepEqual((await apply("hold", notice))[0]?.changed, ["sender@example.org"]);
    assert.deepEqual((await apply("remove", other))[0]?.changed, ["v@example.org"]);
    await scheduler.start();
    await clock.advance(0);
    assert.deepEqual((await apply("remove", notice))[0]?.changed, ["sender@example.org"]);
    await clock.advance(0);
    assert.deepEqual(second.notices, []);
    assert.deepEqual(queue.entries, []);
  },
);

testOnEachQueue("Scheduler keeps a message whose entry cannot be read, and comes back to it", async () => {
  await using world = await World.open();
  const { network, clock, queue } = world;
  const mx = network.host("mx.a.test");
  network.domain("a.test", ["mx.a.test"]);
  const load = queue.load.bind(queue);
  queue.load = () => Promise.reject(new Error("input/output error"));
  await world.send(["u@a.test"]);
  await clock.advance(0);
  assert.equal(mx.taken.length, 0);
  queue.load = load;
  await clock.advance(MINUTE);
  assert.equal(mx.taken.length, 1);
});

testOnEachQueue(
  "Scheduler sends what it saw of a queue that it cannot read to the end, notices too",
  async () => {
    const first = await World.open();
    first.network.host("mx.a.test");
    first.network.domain("a.test", ["mx.a.test"]);
    for (const reversePath of ["", "sender@example.org"]) {
      await first.queue.put(["u@a.test"], {
        reversePath,
      });
    }
    await using second = await first.crash();
    const scan = second.queue.scan.bind(second.queue);
    second.queue.scan = async function* () {
      yield* scan();
      throw new Error("input/output error");
    };
    await assert.rejects(second.scheduler.start());
    await second.clock.advance(0);
    assert.equal(first.network.hosts.get("mx.a.test")?.taken.length, 2);
  },
);
