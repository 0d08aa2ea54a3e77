import assert from "node:assert/strict";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { DAY, HOUR, MINUTE, refuse, SECOND, World } from "../tests/support/scheduler_world.ts";
import { noticeComposer } from "./dsn.ts";
import { type DropReason, Undeliverable, type UndeliverableLimits } from "./undeliverable.ts";

function account(limits: UndeliverableLimits) {
  const clock = new FakeClock();
  const dropped: [id: string, reason: DropReason][] = [];
  const held = new Undeliverable({ clock, limits, drop: (id, reason) => void dropped.push([id, reason]) });
  return { clock, dropped, held };
}

Deno.test("Undeliverable drops what is too old when that time has come, whatever the order", async () => {
  const { clock, dropped, held } = account({ keepFor: 30 * DAY, most: 100 });
  held.note("young", { age: 0 });
  held.note("old", { age: 20 * DAY });
  held.note("gone", { age: 25 * DAY });
  held.forget("gone");
  held.note("at once", { age: 31 * DAY, recalled: true });
  await clock.advance(0);
  assert.deepEqual(dropped.splice(0), [["at once", "too old"]]);
  await clock.advance(10 * DAY - 1);
  assert.deepEqual(dropped, []);
  await clock.advance(1);
  assert.deepEqual(dropped.splice(0), [["old", "too old"]]);
  held.note("young", { age: 10 * DAY });
  await clock.advance(20 * DAY);
  assert.deepEqual(dropped, [["young", "too old"]]);
  assert.equal(held.status.held, 0);
});

Deno.test("Undeliverable drops the oldest ones beyond its number, also when that is lowered", () => {
  const { dropped, held } = account({ keepFor: 30 * DAY, most: 3 });
  for (const [id, age] of [["b", 2], ["a", 3], ["c", 1], ["d", 0]] as const) {
    held.note(id, { age: age * HOUR });
  }
  assert.deepEqual(dropped.splice(0), [["a", "too many"]]);
  held.note("very old", { age: 5 * DAY });
  assert.deepEqual(dropped.splice(0), [["very old", "too many"]]);
  held.limits = { keepFor: 90 * MINUTE, most: 1 };
  assert.deepEqual(dropped, [["b", "too old"], ["c", "too many"]]);
  held.stop();
  held.note("e", { age: 0 });
  assert.equal(dropped.length, 2);
});

Deno.test("Undeliverable tells what came and went within a day", async () => {
  const { clock, held } = account({ keepFor: 2 * DAY, most: 2 });
  held.note("recalled", { age: 0, recalled: true });
  held.note("a", { age: 0 });
  held.note("b", { age: 0 });
  assert.deepEqual(held.status, { held: 2, recentlyHeld: 2, recentlyDropped: 1 });
  await clock.advance(DAY + HOUR);
  assert.deepEqual(held.status, { held: 2, recentlyHeld: 0, recentlyDropped: 0 });
  await clock.advance(DAY);
  assert.deepEqual(held.status, { held: 0, recentlyHeld: 0, recentlyDropped: 2 });
});

const LIMITS = { keepFor: 30 * DAY, most: 3 };

/** A world in which one domain refuses everyone. */
function refusing(options: ConstructorParameters<typeof World>[0] = {}): World {
  const world = new World({ undeliverable: LIMITS, ...options });
  world.network.host("mx.a.test", { answer: () => refuse("550 5.1.1 unknown") });
  world.network.domain("a.test", ["mx.a.test"]);
  world.network.host("mx.b.test", { state: "refused" });
  world.network.domain("b.test", ["mx.b.test"]);
  return world;
}

Deno.test("Scheduler drops what it holds without a sender beyond a number and a time, each with an event", async () => {
  await using world = refusing();
  const ids: string[] = [];
  for (let i = 0; i < 5; i++) {
    ids.push(await world.send([`u${i}@a.test`], { reversePath: "" }));
    await world.clock.advance(MINUTE);
  }
  assert.deepEqual(world.queue.entries.map(({ id }) => id), ids.slice(2));
  assert.deepEqual(world.scheduler.undeliverable, { held: 3, recentlyHeld: 5, recentlyDropped: 2 });
  const [line] = world.log.filter(({ event }) => event === "dsn.dropped");
  assert.equal(line?.level, "warn");
  assert.deepEqual(line?.fields, {
    id: ids[0],
    recipients: ["u0@a.test"],
    reason: "too many",
    age_ms: 180_000,
  });

  await world.clock.advance(30 * DAY - 3 * MINUTE);
  assert.deepEqual(world.queue.entries.map(({ id }) => id), ids.slice(3));
  await world.clock.advance(2 * MINUTE);
  assert.deepEqual(world.queue.entries, []);
  assert.deepEqual(world.events("dsn.dropped").map(({ id }) => id), ids);
  assert.deepEqual(world.notices, []);
});

Deno.test("Scheduler drops no message that an operator holds, and none that has a sender", async () => {
  await using world = refusing();
  const held = await world.send(["u@b.test"], { reversePath: "" });
  const sent = await world.send(["u@b.test"]);
  await world.clock.advance(SECOND);
  for (const id of [held, sent]) {
    await world.change(id, ({ entry }) => {
      for (const recipient of entry.recipients) recipient.status = "held";
    });
  }
  for (let i = 0; i < 5; i++) await world.send([`u${i}@a.test`], { reversePath: "" });
  await world.clock.advance(40 * DAY);
  assert.deepEqual(world.queue.entries.map(({ id }) => id), [held, sent]);
});

Deno.test("Scheduler drops only the recipients that failed; the others go on", async () => {
  await using world = refusing({ undeliverable: { keepFor: HOUR, most: 3 } });
  const id = await world.send(["u@a.test", "v@b.test"], { reversePath: "" });
  await world.clock.advance(HOUR + SECOND);
  assert.deepEqual(world.entry(id)?.recipients.map(({ status }) => status), ["removed", "pending"]);
  world.network.host("mx.b.test");
  await world.clock.advance(5 * HOUR);
  assert.equal(world.entry(id), undefined);
});

Deno.test("Scheduler recalls after a restart what it holds, and bounds that, too", async () => {
  const first = refusing({ undeliverable: { keepFor: 30 * DAY, most: 100 } });
  const ids: string[] = [];
  for (let i = 0; i < 5; i++) ids.push(await first.send([`u${i}@a.test`], { reversePath: "" }));
  await first.clock.advance(DAY);
  assert.equal(first.scheduler.undeliverable.held, 5);
  await using second = await first.crash({ undeliverable: LIMITS });
  await second.scheduler.start();
  await second.clock.advance(0);
  assert.deepEqual(second.queue.entries.length, 3);
  assert.deepEqual(second.scheduler.undeliverable, { held: 3, recentlyHeld: 0, recentlyDropped: 2 });
  await second.clock.advance(29 * DAY);
  assert.deepEqual(second.queue.entries, []);
});

Deno.test("Scheduler counts no longer what an operator released, bounced or removed", async () => {
  await using world = refusing();
  const ids: string[] = [];
  for (let i = 0; i < 3; i++) ids.push(await world.send([`u${i}@a.test`], { reversePath: "" }));
  await world.clock.advance(SECOND);
  const [released = "", removed = ""] = ids;
  world.network.host("mx.a.test", { answer: () => refuse("450 4.2.0 later") });
  await world.change(released, ({ entry: { recipients: [recipient] } }) => {
    if (recipient) Object.assign(recipient, { status: "pending", settled: false, nextAttemptAt: 0 });
  });
  await world.change(removed, ({ entry: { recipients: [recipient] } }) => {
    if (recipient) recipient.status = "removed";
  });
  await world.clock.advance(SECOND);
  assert.equal(world.scheduler.undeliverable.held, 1);
  assert.equal(world.entry(released)?.recipients[0]?.status, "pending");
  assert.equal(world.entry(removed), undefined);
});

Deno.test("Scheduler sends a notice that is too large for its sender's server once more, with less in it", async () => {
  await using world: World = refusing({
    compose: (request) =>
      noticeComposer({ queue: world.queue, hostname: "mx.test", expireAfter: DAY })(request),
  });
  const refusals = ["552 5.3.4 too big", "552 too big"];
  const sizes: number[] = [];
  world.network.host("mx.s.test", { answer: () => refuse(refusals.shift() ?? "552 5.2.3 still too big") });
  world.network.domain("s.test", ["mx.s.test"]);
  const add = world.queue.add.bind(world.queue);
  world.queue.add = (entry, message) => {
    sizes.push(message.length);
    const body = new TextEncoder().encode("Subject: x\r\n\r\n" + "a line of it\r\n".repeat(100));
    return add(entry, sizes.length === 1 ? body : message);
  };
  const id = await world.send(["u@a.test"], { reversePath: "alice@s.test", dsn: { ret: "FULL" } });
  await world.clock.advance(MINUTE);
  const [, whole = 0, header = 0, nothing = 0] = sizes;
  assert.equal(sizes.length, 4);
  assert.ok(whole > header && header > nothing, `${sizes}`);
  assert.deepEqual(world.events("dsn.queued").map((fields) => fields.id), [id]);
  assert.equal(world.events("dsn.shortened").length, 2);
  // Nothing more can be left out: now it is held, once.
  assert.equal(world.events("dsn.held").length, 1);
  assert.deepEqual(world.queue.entries.map(({ recipients: [one] }) => one?.status), ["held"]);
  assert.equal(world.scheduler.undeliverable.held, 1);
});

Deno.test("Scheduler knows by codes and words that a notice is too large, and no other refusal for that", async () => {
  const cases: readonly (readonly [reply: string, shortened: boolean])[] = [
    ["552 5.3.4 Message size exceeds fixed limit", true],
    ["552 sorry, that message size exceeds my databytes limit (#5.3.4)", true],
    ["550 5.2.3 RESOLVER.RST.RecipSizeLimit; message too large for this recipient", true],
    ["554 message too big", true],
    ["554 5.7.0 Maximum size is 1000", true],
    ["550 5.1.1 unknown", false],
    ["550 5.7.1 spam", false],
    ["554 5.6.0 resized images are not taken", false],
  ];
  for (const [reply, shortened] of cases) {
    await using world: World = refusing({
      compose: (request) =>
        noticeComposer({ queue: world.queue, hostname: "mx.test", expireAfter: DAY })(request),
    });
    const status = /\b5\.\d\.\d\b/.exec(reply)?.[0] ?? "5.0.0";
    world.network.host("mx.s.test", { answer: () => ({ reply, status, atDot: true }) });
    world.network.domain("s.test", ["mx.s.test"]);
    await world.send(["u@a.test"], { reversePath: "alice@s.test", dsn: { ret: "FULL" } });
    await world.clock.advance(MINUTE);
    assert.equal(world.events("dsn.shortened").length > 0, shortened, reply);
    assert.equal(world.events("dsn.held").length, 1, reply);
  }
});

Deno.test("Scheduler sends a shortened notice once, wherever a crash comes", async () => {
  for (let stopAfter = 0; stopAfter < 12; stopAfter++) {
    const options = {
      compose: (request: Parameters<ReturnType<typeof noticeComposer>>[0]) =>
        noticeComposer({
          queue: worlds.at(-1)?.queue ?? assert.fail(),
          hostname: "mx.test",
          expireAfter: DAY,
        })(request),
    };
    const worlds: World[] = [];
    const first = refusing(options);
    worlds.push(first);
    const mx = first.network.host("mx.s.test", {
      answer: () => mx.taken.length === 0 && refused++ === 0 ? refuse("552 5.3.4 too big") : "relay",
    });
    let refused = 0;
    first.network.domain("s.test", ["mx.s.test"]);
    const id = await first.send(["u@a.test"], { reversePath: "alice@s.test", dsn: { ret: "FULL" } });
    let changes = 0;
    first.queue.before = () => ++changes > stopAfter ? new Promise(() => {}) : undefined;
    await first.clock.advance(SECOND);
    const second = await first.crash(options);
    worlds.push(second);
    await second.scheduler.start();
    await second.clock.advance(5 * MINUTE);
    assert.deepEqual(mx.taken, [["alice@s.test"]], `a crash after ${stopAfter} changes of ${id}`);
    assert.deepEqual(second.queue.entries, []);
    await second[Symbol.asyncDispose]();
  }
});

Deno.test("Scheduler tells of many recipients in several notices, each of them once", async () => {
  await using world = refusing();
  const addresses = Array.from({ length: 1200 }, (_, index) => `u${index}@b.test`);
  const id = await world.send(addresses);
  await world.clock.advance(SECOND);
  await world.change(id, ({ entry }) => {
    for (const recipient of entry.recipients) recipient.status = "failed";
  });
  assert.deepEqual(world.notices.map(({ recipients }) => recipients.length), [500, 500, 200]);
  assert.deepEqual(world.notices.flatMap(({ recipients }) => recipients), addresses);
});
