import assert from "node:assert/strict";
import { type HostAnswer } from "../tests/support/relay_network.ts";
import {
  DAY,
  HOUR,
  MINUTE,
  refuse,
  SECOND,
  testOnEachQueue,
  testOnSoleOwner,
  World,
} from "../tests/support/scheduler_world.ts";

testOnEachQueue(
  "Scheduler retries after a 4xx no sooner than the schedule, with the reply in the entry",
  async () => {
    await using world = await World.open();
    const { clock, network } = world;
    const mx = network.host("mx.a.test", { answer: () => refuse("450 4.2.0 greylisted, come back") });
    network.domain("a.test", ["mx.a.test"]);
    const id = await world.send(["u@a.test"]);
    await clock.advance(0);
    const recipient = world.entry(id)?.recipients[0];
    assert.equal(recipient?.status, "pending");
    assert.equal(recipient?.attemptCount, 1);
    assert.equal(recipient?.attempts[0]?.reply, "450 4.2.0 greylisted, come back");
    assert.equal(recipient?.nextAttemptAt, clock.now() + MINUTE);
    await clock.advance(10 * HOUR);
    const at = mx.askedAt.map((ms) => ms / MINUTE);
    assert.deepEqual(at, [0, 1, 6, 21, 51, 111, 231, 471]);
    mx.answer = () => "relay";
    await clock.advance(4 * HOUR);
    assert.equal(world.entry(id), undefined);
  },
);

testOnEachQueue("Scheduler tries no recipient sooner because another one of its domain is due", async () => {
  await using world = await World.open();
  const { clock, network } = world;
  const mx = network.host("mx.a.test");
  network.domain("a.test", ["mx.a.test"]);
  await world.send(["now@a.test", { address: "later@a.test", nextAttemptAt: clock.now() + HOUR }]);
  await clock.advance(HOUR - 1);
  assert.deepEqual(mx.taken, [["now@a.test"]]);
  await clock.advance(1);
  assert.deepEqual(mx.taken, [["now@a.test"], ["later@a.test"]]);
});

testOnEachQueue("Scheduler flips the address family on a retry", async () => {
  await using world = await World.open();
  const { clock, network } = world;
  network.host("mx.a.test", { address: "2001:db8::1", answer: () => refuse("450 4.2.0 later") });
  network.domain("a.test", ["mx.a.test"]);
  await world.send(["u@a.test"]);
  await clock.advance(MINUTE);
  assert.deepEqual(network.familyHints, [undefined, 4]);
});

testOnEachQueue(
  "Scheduler tries the next host after a 4xx, a drop or no connection before the dot, never after it",
  async () => {
    const cases: { first: HostAnswer | "refused" | "silent" | { greeting: string }; next: boolean }[] = [
      { first: "refused", next: true },
      { first: "silent", next: true },
      { first: { greeting: "554 5.3.2 no" }, next: true },
      { first: refuse("450 4.2.0 later"), next: true },
      { first: { drop: "before-dot" }, next: true },
      { first: { drop: "after-dot" }, next: false },
      { first: refuse("451 4.3.0 later", true), next: false },
    ];
    for (const { first, next } of cases) {
      await using world = await World.open();
      const { network } = world;
      const one = network.host("mx1.a.test");
      const two = network.host("mx2.a.test");
      network.domain("a.test", ["mx1.a.test", "mx2.a.test"]);
      if (first === "refused" || first === "silent") one.state = first;
      else if (typeof first === "object" && "greeting" in first) {
        one.state = { reply: first.greeting, status: "5.3.2" };
      } else one.answer = () => first;
      const id = await world.send(["u@a.test"]);
      await world.clock.advance(31 * SECOND);
      assert.equal(two.taken.length, next ? 1 : 0, JSON.stringify(first));
      assert.equal(world.entry(id)?.recipients[0]?.status, next ? undefined : "pending");
    }
  },
);

testOnEachQueue(
  "Scheduler asks a host that said 4xx over no other address, but one that said nothing",
  async () => {
    const cases: { answer: HostAnswer; greeting?: string; asked: string[] }[] = [
      { answer: refuse("450 4.2.0 greylisted"), asked: ["192.0.2.1", "192.0.2.3"] },
      { answer: "relay", greeting: "450 4.3.2 later", asked: ["192.0.2.1", "192.0.2.3"] },
      { answer: { drop: "before-dot" }, asked: ["192.0.2.1", "192.0.2.2", "192.0.2.3"] },
    ];
    for (const { answer, greeting, asked } of cases) {
      const seen: string[] = [];
      await using world: World = await World.open({
        route: async (domain, options) => {
          const found = await world.network.route(domain, options);
          const targets = (found.kind === "targets" ? found.targets : []).flatMap((target) =>
            target.host === "mx1.a.test" ? [target, { ...target, address: "192.0.2.2" }] : [target]
          );
          return { kind: "targets", targets };
        },
        connect: (target, options) => {
          seen.push(target.address);
          return world.network.connect(target, options);
        },
      });
      const one = world.network.host("mx1.a.test", { address: "192.0.2.1", answer: () => answer });
      if (greeting !== undefined) one.state = { reply: greeting, status: "4.3.2" };
      world.network.host("mx2.a.test", { address: "192.0.2.3" });
      world.network.domain("a.test", ["mx1.a.test", "mx2.a.test"]);
      await world.send(["u@a.test"]);
      await world.clock.advance(0);
      assert.deepEqual(seen, asked, JSON.stringify(answer));
    }
  },
);

testOnEachQueue("Scheduler shows a dot without a reply in the entry and tries again later", async () => {
  await using world = await World.open();
  const mx = world.network.host("mx.a.test", { answer: () => ({ drop: "after-dot" }) });
  world.network.domain("a.test", ["mx.a.test"]);
  const id = await world.send(["u@a.test"]);
  await world.clock.advance(0);
  assert.equal(world.entry(id)?.recipients[0]?.attempts.at(-1)?.dotSentNoReply, true);
  mx.answer = () => "relay";
  await world.clock.advance(MINUTE);
  assert.equal(world.entry(id), undefined);
});

testOnEachQueue("Scheduler gives each recipient its own outcome and tells the sender once", async () => {
  await using world = await World.open();
  const { network, clock } = world;
  const answers: Record<string, HostAnswer> = {
    "ok@a.test": "relay",
    "later@a.test": refuse("452 4.2.2 full"),
    "no@a.test": refuse("550 5.1.1 unknown"),
    "never@a.test": refuse("550 5.7.1 go away"),
  };
  const mx = network.host("mx.a.test", { answer: (recipient) => answers[recipient] ?? "relay" });
  const home = network.host("mx.example.org");
  network.domain("a.test", ["mx.a.test"]);
  network.domain("example.org", ["mx.example.org"]);
  const id = await world.send([...Object.keys(answers), "x@no-such.test"]);
  await clock.advance(0);
  const states = world.entry(id)?.recipients.map(({ status, settled }) => [status, settled]);
  assert.deepEqual(states, [["relayed", true], ["pending", false], ["failed", true], ["failed", true], [
    "failed",
    true,
  ]]);
  assert.deepEqual(world.notices, [
    { kind: "failure", about: id, recipients: ["no@a.test", "never@a.test", "x@no-such.test"] },
  ]);
  assert.deepEqual(home.taken, [["sender@example.org"]]);
  answers["later@a.test"] = "relay";
  await clock.advance(MINUTE);
  assert.deepEqual(mx.taken, [["ok@a.test"], ["later@a.test"]]);
  assert.deepEqual(world.queue.entries, []);
  assert.equal(world.notices.length, 1);
});

testOnEachQueue("Scheduler honours NOTIFY", async () => {
  await using world = await World.open();
  const { network, clock } = world;
  network.host("mx.a.test", {
    answer: (recipient) => recipient.startsWith("bad") ? refuse("550 5.1.1 unknown") : "relay",
  });
  network.host("mx.example.org");
  network.domain("a.test", ["mx.a.test"]);
  network.domain("example.org", ["mx.example.org"]);
  const id = await world.send([
    { address: "bad1@a.test", notify: ["NEVER"] },
    { address: "bad2@a.test", notify: ["SUCCESS"] },
    { address: "good1@a.test", notify: ["SUCCESS", "FAILURE"] },
    { address: "good2@a.test", notify: ["FAILURE"] },
  ]);
  await clock.advance(0);
  assert.deepEqual(world.notices, [{ kind: "success", about: id, recipients: ["good1@a.test"] }]);
  assert.deepEqual(world.queue.entries, []);
});

testOnEachQueue("Scheduler tells nothing of success where the host took that over", async () => {
  await using world = await World.open();
  world.network.host("mx.a.test", { dsn: true });
  world.network.domain("a.test", ["mx.a.test"]);
  await world.send([{ address: "u@a.test", notify: ["SUCCESS"] }]);
  await world.clock.advance(0);
  assert.deepEqual(world.notices, []);
  assert.deepEqual(world.queue.entries, []);
});

testOnEachQueue("Scheduler holds a message with a null sender that fails, and says so", async () => {
  await using world = await World.open();
  world.network.host("mx.a.test", { answer: () => refuse("550 5.1.1 unknown") });
  world.network.domain("a.test", ["mx.a.test"]);
  const id = await world.send(["u@a.test"], { reversePath: "" });
  await world.clock.advance(DAY);
  assert.equal(world.entry(id)?.recipients[0]?.status, "held");
  assert.deepEqual(world.notices, []);
  const [line] = world.log.filter(({ event }) => event === "dsn.held");
  assert.equal(line?.level, "error");
  assert.equal(line?.fields.reply, "550 5.1.1 unknown");
});

testOnEachQueue(
  "Scheduler tells the sender of a delay, once, when it is due and not when it is next tried",
  async () => {
    await using world = await World.open();
    const { network, clock } = world;
    network.host("mx.a.test", { state: "refused" });
    network.host("mx.example.org");
    network.domain("a.test", ["mx.a.test"]);
    network.domain("example.org", ["mx.example.org"]);
    const id = await world.send(["u@a.test", { address: "quiet@a.test", notify: ["FAILURE"] }]);
    await clock.advance(4 * HOUR - 1);
    assert.deepEqual(world.notices, []);
    await clock.advance(1);
    assert.deepEqual(world.notices, [{ kind: "delay", about: id, recipients: ["u@a.test"] }]);
    await clock.advance(2 * DAY);
    assert.equal(world.notices.length, 1);
  },
);

testOnEachQueue("Scheduler expires a message with the attempt after its time is over", async () => {
  await using world = await World.open();
  const { network, clock } = world;
  const mx = network.host("mx.a.test", { state: "refused" });
  network.host("mx.example.org");
  network.domain("a.test", ["mx.a.test"]);
  network.domain("example.org", ["mx.example.org"]);
  const id = await world.send(["u@a.test"]);
  await clock.advance(5 * DAY - 1);
  assert.equal(world.entry(id)?.recipients[0]?.status, "pending");
  const before = mx.askedAt.length;
  await clock.advance(4 * HOUR);
  assert.equal(mx.askedAt.length, before + 1);
  assert.equal(world.entry(id), undefined);
  assert.deepEqual(world.notices.map(({ kind }) => kind), ["delay", "failure"]);
  assert.equal(world.events("queue.expired").length, 1);
});

testOnEachQueue(
  "Scheduler after a long stop tries a message before it expires, and more than once",
  async () => {
    const first = await World.open();
    const { network, clock } = first;
    network.host("mx.a.test", { state: "refused" });
    network.domain("a.test", ["mx.a.test"]);
    const id = await first.send(["u@a.test"]);
    await clock.advance(2 * HOUR);
    await using second = await first.crash();
    await clock.advance(6 * DAY);
    await second.scheduler.start();
    await clock.advance(0);
    assert.equal(second.entry(id)?.recipients[0]?.status, "pending");
    assert(second.events("attempt.deferred").length > 0);
    await clock.advance(5 * HOUR);
    assert.equal(second.events("queue.expired").length, 1);
  },
);

testOnSoleOwner("Scheduler does not care about a clock that jumps a year ahead or back", async () => {
  for (const jump of [365 * DAY, -365 * DAY, DAY, -DAY]) {
    await using world = await World.open();
    const { network, clock } = world;
    const mx = network.host("mx.a.test", { state: "refused" });
    network.domain("a.test", ["mx.a.test"]);
    const ids = [await world.send(["u@a.test"]), await world.send(["v@a.test"])];
    await clock.advance(30 * SECOND);
    clock.jump(jump);
    const asked = mx.askedAt.length;
    await clock.advance(20 * SECOND);
    assert.equal(mx.askedAt.length, asked, "no storm");
    await clock.advance(24 * HOUR);
    for (const id of ids) assert.equal(world.entry(id)?.recipients[0]?.status, "pending", `${jump}`);
    assert.equal(world.events("queue.expired").length, 0);
    // 1, 6, 21, 51, 111, 231 minutes, then every 4 hours: it went on as if nothing had been.
    assert(mx.askedAt.length >= 11 && mx.askedAt.length <= 24, `${mx.askedAt.length} attempts`);
    mx.state = "up";
    await clock.advance(4 * HOUR);
    assert.equal(mx.taken.length, 2);
  }
});

testOnEachQueue(
  "Scheduler started under a wrong clock does not expire what it can try again under the right one",
  async () => {
    const first = await World.open();
    const { network, clock } = first;
    const mx = network.host("mx.a.test", { state: "refused" });
    network.domain("a.test", ["mx.a.test"]);
    const id = await first.send(["u@a.test"]);
    await clock.advance(10 * MINUTE);
    await using second = await first.crash();
    clock.jump(365 * DAY);
    await second.scheduler.start();
    await clock.advance(5 * SECOND);
    clock.jump(-365 * DAY);
    await clock.advance(DAY);
    assert.equal(second.entry(id)?.recipients[0]?.status, "pending");
    mx.state = "up";
    await clock.advance(4 * HOUR);
    assert.equal(second.entry(id), undefined);
  },
);

testOnSoleOwner(
  "Scheduler goes by the time that has passed, whatever the clock said when a message came",
  async () => {
    for (const wrong of [-30 * DAY, 365 * DAY]) {
      const first = await World.open();
      const { network, clock } = first;
      network.host("mx.a.test", { answer: () => refuse("450 4.2.0 not yet") });
      network.host("mx.example.org");
      network.domain("a.test", ["mx.a.test"]);
      network.domain("example.org", ["mx.example.org"]);
      clock.jump(wrong);
      const id = await first.send(["u@a.test"]);
      await clock.advance(10 * MINUTE);
      clock.jump(-wrong);
      await using second = await first.crash();
      await second.scheduler.start();
      await clock.advance(3 * HOUR);
      assert.deepEqual(second.notices, []);
      await clock.advance(2 * HOUR);
      assert.deepEqual(second.notices.map(({ kind }) => kind), ["delay"]);
      await clock.advance(4 * DAY);
      assert.equal(second.entry(id)?.recipients[0]?.status, "pending");
      await clock.advance(DAY);
      assert.equal(second.events("queue.expired").length, 1);
      assert.deepEqual(second.notices.map(({ kind }) => kind), ["delay", "failure"]);
    }
  },
);

testOnSoleOwner(
  "Scheduler does not wait a year for what was written under a clock a year ahead",
  async () => {
    await using world = await World.open();
    const mx = world.network.host("mx.a.test");
    world.network.domain("a.test", ["mx.a.test"]);
    const nextAttemptAt = world.clock.now() + 365 * DAY;
    await world.send([{ address: "u@a.test", nextAttemptAt }]);
    const { nextAt = Infinity } = world.scheduler.domainStatus("a.test");
    assert.ok(nextAt <= world.clock.now() + 5 * HOUR, `${nextAt}`);
    await world.clock.advance(5 * HOUR);
    assert.equal(mx.taken.length, 1);
  },
);

testOnEachQueue("Scheduler expires what waits for a host that only ever asks for less", async () => {
  await using world = await World.open();
  const { network, clock } = world;
  network.host("mx.a.test", { answer: () => refuse("421 4.7.28 unusual rate of mail") });
  network.host("mx.example.org");
  network.domain("a.test", ["mx.a.test"]);
  network.domain("example.org", ["mx.example.org"]);
  for (let i = 0; i < 5; i++) await world.send(["u@a.test"]);
  await clock.advance(5 * DAY + 9 * HOUR);
  assert.equal(world.events("queue.expired").length, 5);
});

testOnSoleOwner("Scheduler comes to the 17th of the hosts, however the 16 before it refuse", async () => {
  for (const recipients of [1, 300]) {
    for (const state of ["refused", { reply: "450 4.7.1 later", status: "4.7.1" }] as const) {
      await using world = await World.open();
      const names = Array.from({ length: 17 }, (_, index) => `mx${index + 1}.a.test`);
      const hosts = names.map((name) => world.network.host(name, { state }));
      const last = hosts.at(-1);
      assert(last !== undefined);
      last.state = "up";
      world.network.domain("a.test", names);
      await world.send(Array.from({ length: recipients }, (_, index) => `u${index}@a.test`));
      await world.clock.advance(3 * HOUR);
      assert.equal(last.taken.flat().length, recipients);
      // Whatever was asked of it, the best one was asked before.
      assert((hosts[0]?.askedAt[0] ?? Infinity) < (last.askedAt[0] ?? 0) || recipients > 1);
    }
  }
});

testOnSoleOwner("Scheduler begins each attempt with the best of a few hosts", async () => {
  await using world = await World.open();
  const names = ["mx1.a.test", "mx2.a.test", "mx3.a.test"];
  const state = { reply: "450 4.7.1 later", status: "4.7.1" };
  const [best] = names.map((name) => world.network.host(name, { state }));
  world.network.domain("a.test", names);
  await world.send(["u@a.test"]);
  await world.clock.advance(0);
  assert(best !== undefined);
  best.state = "up";
  await world.clock.advance(3 * HOUR);
  assert.deepEqual(best.taken, [["u@a.test"]]);
});
