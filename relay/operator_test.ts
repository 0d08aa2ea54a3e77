import assert from "node:assert/strict";
import { silentLogger } from "../base/log.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { MemoryQueue } from "../tests/support/memory_queue.ts";
import { newEntry } from "../tests/support/queue_entry.ts";
import { RelayNetwork } from "../tests/support/relay_network.ts";
import { type ActionResult, type OperatorAction, QueueOperator } from "./operator.ts";
import { longestDelay } from "./retry_schedule.ts";
import { SCHEDULE } from "../tests/support/retry_schedule.ts";
import type { QueueFilter } from "./queue_filter.ts";
import { Scheduler } from "./scheduler.ts";

const HOUR = 3_600_000;

class World {
  readonly clock = new FakeClock();
  readonly network = new RelayNetwork(this.clock);
  readonly queue = new MemoryQueue();
  readonly notices: string[] = [];
  readonly mx = this.network.host("mx.a.test", { state: "refused" });
  readonly scheduler = new Scheduler({
    queue: this.queue,
    clock: this.clock,
    random: () => 0,
    logger: silentLogger,
    schedule: SCHEDULE,
    route: this.network.route,
    connect: this.network.connect,
    compose: ({ id, kind, entry, recipients }) => {
      const addresses = recipients.map((index) => entry.recipients[index]?.address);
      this.notices.push(`${kind} ${addresses}`);
      const notice = newEntry([{ address: entry.reversePath, status: "held" }], { id, reversePath: "" });
      return Promise.resolve({ entry: notice, message: new Uint8Array() });
    },
  });
  readonly operator = new QueueOperator({
    queue: this.queue,
    entries: this.scheduler.entries,
    clock: this.clock,
    logger: silentLogger,
    change: (opened) => this.scheduler.change(opened),
    clearHostBackoff: () => this.scheduler.clearHostBackoff(),
    longestWait: () => longestDelay(SCHEDULE),
  });

  constructor() {
    this.network.domain("a.test", ["mx.a.test"]);
    this.network.domain("b.test", ["mx.a.test"]);
  }

  async send(...recipients: string[]): Promise<string> {
    const summary = await this.queue.put(recipients, { acceptedAt: this.clock.now() });
    this.scheduler.submit(summary);
    await this.clock.advance(0);
    return summary.id;
  }

  apply(action: OperatorAction, filter: QueueFilter): Promise<ActionResult[]> {
    return Array.fromAsync(this.operator.apply(action, filter));
  }

  states(id: string): Record<string, string> | undefined {
    const entry = this.queue.entries.find((entry) => entry.id === id);
    return entry && Object.fromEntries(entry.recipients.map(({ address, status }) => [address, status]));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const stopped = this.scheduler.stop(0);
    await this.clock.advance(0);
    await stopped;
  }
}

Deno.test("QueueOperator.apply() retry tries at once, also a host that was found dead", async () => {
  await using world = new World();
  const id = await world.send("u@a.test");
  world.mx.state = "up";
  assert.deepEqual(await world.apply("retry", { ids: [id] }), [{ id, changed: ["u@a.test"], inFlight: [] }]);
  await world.clock.advance(0);
  assert.deepEqual(world.mx.taken, [["u@a.test"]]);
  assert.deepEqual(world.queue.entries, []);
});

Deno.test("QueueOperator.apply() hold keeps a message until release", async () => {
  await using world = new World();
  const id = await world.send("u@a.test", "v@b.test");
  await world.apply("hold", { ids: [id], domain: "a.test" });
  assert.deepEqual(world.states(id), { "u@a.test": "held", "v@b.test": "pending" });
  world.mx.state = "up";
  await world.clock.advance(HOUR);
  assert.deepEqual(world.mx.taken, [["v@b.test"]]);
  const [refused] = await world.apply("retry", { ids: [id] });
  assert.deepEqual(refused, {
    id,
    changed: [],
    inFlight: [],
    leftAlone: ["u@a.test"],
    note: "held; queue release sends it",
  });
  await world.apply("release", { ids: [id] });
  await world.clock.advance(0);
  assert.deepEqual(world.mx.taken, [["v@b.test"], ["u@a.test"]]);
});

Deno.test("QueueOperator.apply() bounce notifies the sender, remove does not", async () => {
  await using world = new World();
  const bounced = await world.send("u@a.test");
  const removed = await world.send("v@a.test");
  await world.apply("bounce", { ids: [bounced] });
  await world.apply("remove", { ids: [removed] });
  assert.deepEqual(world.notices, ["failure u@a.test"]);
  assert.equal(world.states(bounced), undefined);
  assert.equal(world.states(removed), undefined);
  await world.clock.advance(HOUR);
  assert.equal(world.scheduler.status.waiting, 0);
});

Deno.test("QueueOperator.apply() bounce gives up a message that has no sender, held or not, without a notice", async () => {
  await using world = new World();
  for (const status of ["pending", "held"] as const) {
    const { id } = await world.queue.put([{ address: "u@a.test", status }], { reversePath: "" });
    const [result] = await world.apply("bounce", { ids: [id] });
    assert.deepEqual(result, { id, changed: ["u@a.test"], inFlight: [] });
    assert.equal(world.states(id), undefined);
  }
  assert.deepEqual(world.notices, []);
});

Deno.test("QueueOperator.apply() release and hold again is the operator's hold, which is for no time", async () => {
  await using world = new World();
  const held = { address: "u@a.test", status: "held", settled: true } as const;
  const { id } = await world.queue.put([held], { reversePath: "" });
  world.mx.state = "refused";
  await world.apply("release", { ids: [id] });
  assert.equal(world.queue.entries[0]?.recipients[0]?.settled, false);
  await world.apply("hold", { ids: [id] });
  assert.equal(world.scheduler.undeliverable.held, 0);
  assert.deepEqual(world.states(id), { "u@a.test": "held" });
});

Deno.test("QueueOperator.apply() leaves alone what is being sent", async () => {
  await using world = new World();
  world.mx.state = "up";
  world.mx.delay = HOUR;
  const id = await world.send("u@a.test");
  for (const action of ["retry", "hold", "bounce", "remove"] as const) {
    assert.deepEqual(await world.apply(action, {}), [{ id, changed: [], inFlight: ["u@a.test"] }]);
  }
  await world.clock.advance(HOUR);
  assert.deepEqual(world.mx.taken, [["u@a.test"]]);
  assert.deepEqual(world.notices, []);
});

Deno.test("QueueOperator.list() selects by id, domain and sender", async () => {
  await using world = new World();
  const { queue, operator } = world;
  const one = await queue.put(["u@a.test", "v@b.test"], { reversePath: "Alice@example.org" });
  const two = await queue.put([{ address: "u@b.test", status: "held" }], { reversePath: "" });
  const three = await queue.put(["x@c.test", { address: "y@b.test", status: "relayed" }], {
    reversePath: "bob@example.org",
  });
  const list = async (filter: QueueFilter) =>
    (await Array.fromAsync(operator.list(filter))).map(({ entry }) => entry.id);
  assert.deepEqual(await list({}), [one.id, two.id, three.id]);
  assert.deepEqual(await list({ domain: "b.test" }), [one.id, two.id]);
  assert.deepEqual(await list({ sender: "alice@example.org" }), [one.id]);
  assert.deepEqual(await list({ sender: "" }), [two.id]);
  assert.deepEqual(await list({ ids: [three.id, "gone", three.id] }), [three.id]);
  assert.deepEqual(await list({ ids: [one.id], domain: "c.test" }), []);
});

Deno.test("QueueOperator.list() shows no next attempt that is further away than the longest wait", async () => {
  await using world = new World();
  const now = world.clock.now();
  const times = [0, now + HOUR, now + 399 * 24 * HOUR];
  const summary = await world.queue.put(
    times.map((nextAttemptAt, index) => ({ address: `u${index}@a.test`, nextAttemptAt })),
  );
  world.scheduler.submit(summary);
  await world.clock.advance(0);
  const [view] = await Array.fromAsync(world.operator.list({ ids: [summary.id] }));
  const shown = view?.entry.recipients.map(({ nextAttemptAt }) => nextAttemptAt);
  assert.deepEqual(shown?.slice(1), [now + HOUR, now + longestDelay(SCHEDULE)]);
});

Deno.test("QueueOperator.list() shows the oldest first, in whatever order the queue names them", async () => {
  await using world = new World();
  const sent = [await world.send("u@a.test"), await world.send("v@a.test"), await world.send("w@a.test")];
  const operator = new QueueOperator({
    queue: {
      ids: () => ReadableStream.from([...sent].reverse()),
      ageOf: () => 0,
      load: () => Promise.resolve(undefined),
      open: () => assert.fail("it is only listed"),
    },
    entries: world.scheduler.entries,
    clock: world.clock,
    logger: silentLogger,
    change: (opened) => world.scheduler.change(opened),
  });
  const ids = (await Array.fromAsync(operator.list({}))).map(({ entry }) => entry.id);
  assert.deepEqual(ids, sent);
});

Deno.test("QueueOperator.apply() works through more messages than it holds open", async () => {
  await using world = new World();
  for (let i = 0; i < 100; i++) await world.queue.put(["u@a.test"]);
  const results = await world.apply("remove", {});
  assert.equal(results.length, 100);
  assert.deepEqual(world.queue.entries, []);
  assert.equal(world.scheduler.entries.size, 0);
});
