import assert from "node:assert/strict";
import type { LogFields, Logger } from "../base/log.ts";
import { FakeClock, settle as quiet } from "../tests/support/fake_clock.ts";
import { MemoryQueue } from "../tests/support/memory_queue.ts";
import { newEntry } from "../tests/support/queue_entry.ts";
import { type HostAnswer, RelayNetwork } from "../tests/support/relay_network.ts";
import type { QueueEntry } from "./queue_entry.ts";
import { SCHEDULE } from "../tests/support/retry_schedule.ts";
import { Scheduler, type SchedulerOptions } from "./scheduler.ts";
import type { NoticeRequest } from "./settle.ts";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

interface Notice {
  readonly kind: string;
  readonly about: string;
  readonly recipients: readonly string[];
}

/** A scheduler in a world of its own. `crash` begins a new process on what the old one had stored. */
class World {
  readonly clock: FakeClock;
  readonly network: RelayNetwork;
  readonly queue: MemoryQueue;
  readonly scheduler: Scheduler;
  readonly notices: Notice[];
  readonly log: { readonly level: string; readonly event: string; readonly fields: LogFields }[] = [];

  constructor(options: Partial<SchedulerOptions> = {}, before?: World) {
    this.clock = before?.clock ?? new FakeClock();
    this.network = before?.network ?? new RelayNetwork(this.clock);
    this.queue = new MemoryQueue(before?.queue);
    this.notices = before?.notices ?? [];
    const write = (level: string) => (event: string, fields: LogFields = {}) =>
      void this.log.push({ level, event, fields });
    const logger: Logger = {
      enabled: () => true,
      error: write("error"),
      warn: write("warn"),
      info: write("info"),
      debug: write("debug"),
      trace: write("trace"),
      with: () => logger,
    };
    this.scheduler = new Scheduler({
      queue: this.queue,
      clock: this.clock,
      random: () => 0,
      logger,
      schedule: SCHEDULE,
      route: this.network.route,
      connect: this.network.connect,
      compose: (request) => this.#compose(request),
      ...options,
    });
  }

  #compose({ id, kind, entry, recipients }: NoticeRequest) {
    const addresses = recipients.map((index) => entry.recipients[index]?.address ?? "");
    this.notices.push({ kind, about: entry.id, recipients: addresses });
    return Promise.resolve({
      entry: newEntry([entry.reversePath], { id, reversePath: "", acceptedAt: this.clock.now() }),
      message: new TextEncoder().encode(`${kind} ${addresses}`),
    });
  }

  /** Accepts a message. */
  async send(
    recipients: Parameters<MemoryQueue["put"]>[0],
    options: Partial<QueueEntry> = {},
  ): Promise<string> {
    const summary = await this.queue.put(recipients, { acceptedAt: this.clock.now(), ...options });
    this.scheduler.submit(summary);
    return summary.id;
  }

  entry(id: string): QueueEntry | undefined {
    return this.queue.entries.find((entry) => entry.id === id);
  }

  events(event: string): LogFields[] {
    return this.log.filter((line) => line.event === event).map(({ fields }) => fields);
  }

  crash(options: Partial<SchedulerOptions> = {}): World {
    // Whatever the old process still does, nobody sees it.
    this.queue.before = () => new Promise(() => {});
    return new World(options, this);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.queue.before = () => {};
    const stopped = this.scheduler.stop(0);
    await this.clock.advance(0);
    await stopped;
  }
}

function refuse(reply: string, atDot = false): HostAnswer {
  const status = /[45]\.\d+\.\d+/.exec(reply)?.[0] ?? "";
  return { reply, status, atDot };
}

Deno.test("Scheduler relays what is submitted at once, in one transaction for all recipients of a domain", async () => {
  await using world = new World();
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
});

Deno.test("Scheduler puts at most 100 recipients into one transaction", async () => {
  await using world = new World();
  const mx = world.network.host("mx.a.test");
  world.network.domain("a.test", ["mx.a.test"]);
  await world.send(Array.from({ length: 250 }, (_, i) => `u${i}@a.test`));
  await world.clock.advance(0);
  assert.deepEqual(mx.taken.map((taken) => taken.length), [100, 100, 50]);
  assert.deepEqual(world.queue.entries, []);
});

Deno.test("Scheduler sends what waits for a destination over one connection, at most 100 messages", async () => {
  await using world = new World({ maxConnectionsPerHost: 1 });
  const mx = world.network.host("mx.a.test", { delay: 10 });
  world.network.domain("a.test", ["mx.a.test"]);
  for (let i = 0; i < 250; i++) await world.send(["u@a.test"]);
  await world.clock.advance(3 * SECOND);
  assert.equal(mx.taken.length, 250);
  assert.equal(mx.connections, 3);
  assert.equal(mx.mostOpen, 1);
});

/** Two messages for each connection that the host takes, which then wait for the next one. */
async function idle(world: World, cap: number): Promise<ReturnType<RelayNetwork["host"]>> {
  const mx = world.network.host("mx.a.test");
  for (const domain of ["a.test", "b.test"]) world.network.domain(domain, ["mx.a.test"]);
  for (let i = 0; i < 2 * cap; i++) await world.send(["u@a.test"]);
  await world.clock.advance(0);
  assert.deepEqual([mx.taken.length, mx.connections, mx.open], [2 * cap, cap, cap]);
  return mx;
}

Deno.test("Scheduler lets a connection wait two seconds for the next message to the same host, of any domain", async () => {
  await using world = new World({ maxConnectionsPerHost: 1 });
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
});

Deno.test("Scheduler lets a connection wait when the host had another message less than two seconds ago", async () => {
  await using world = new World();
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
});

Deno.test("Scheduler lets no connection wait after a single message, or after a hundred", async () => {
  await using world = new World({ maxConnectionsPerHost: 1 });
  const mx = world.network.host("mx.a.test");
  world.network.domain("a.test", ["mx.a.test"]);
  for (const [messages, connections] of [[1, 1], [100, 2]] as const) {
    for (let i = 0; i < messages; i++) await world.send(["u@a.test"]);
    await world.clock.advance(0);
    assert.deepEqual([mx.connections, mx.open], [connections, 0]);
  }
});

Deno.test("Scheduler ends a connection that waits when its host must be reached under other demands", async () => {
  await using world = new World({ maxConnectionsPerHost: 1 });
  const mx = await idle(world, 1);
  const worse = world.network.host("mx.b.test");
  world.network.domain("b.test", ["mx.a.test", "mx.b.test"], { tls: "verify" });
  await world.send(["u@b.test"]);
  await world.clock.advance(0);
  assert.deepEqual([mx.taken.length, mx.connections, mx.open], [3, 2, 0]);
  assert.equal(worse.connections, 0);
});

Deno.test("Scheduler does not send over a connection that waits to a host that is given a rest", async () => {
  await using world = new World({ maxConnectionsPerHost: 2 });
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

Deno.test("Scheduler opens a fresh connection where one that waited has ended meanwhile", async () => {
  await using world = new World({ maxConnectionsPerHost: 1 });
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

Deno.test("Scheduler stopped while connections wait ends them at once", async () => {
  await using world = new World({ maxConnectionsPerHost: 1 });
  const mx = await idle(world, 1);
  await world.scheduler.stop(30 * SECOND);
  assert.equal(mx.open, 0);
});

Deno.test("Scheduler sends what goes through a smarthost in one transaction, over one connection", async () => {
  await using world = new World({ destinationOf: () => "smarthost", maxConnectionsPerHost: 1 });
  const mx = world.network.host("smart.test", { delay: 10 });
  for (const domain of ["a.test", "b.test", "c.test"]) world.network.domain(domain, ["smart.test"]);
  await world.send(["1@a.test", "2@b.test", "3@a.test"]);
  await world.send(["4@c.test"]);
  await world.clock.advance(SECOND);
  assert.deepEqual(mx.taken, [["1@a.test", "2@b.test", "3@a.test"], ["4@c.test"]]);
  assert.equal(mx.connections, 1);
  assert.deepEqual(world.queue.entries, []);
});

Deno.test("Scheduler retries after a 4xx no sooner than the schedule, with the reply in the entry", async () => {
  await using world = new World();
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
});

Deno.test("Scheduler tries no recipient sooner because another one of its domain is due", async () => {
  await using world = new World();
  const { clock, network } = world;
  const mx = network.host("mx.a.test");
  network.domain("a.test", ["mx.a.test"]);
  await world.send(["now@a.test", { address: "later@a.test", nextAttemptAt: clock.now() + HOUR }]);
  await clock.advance(HOUR - 1);
  assert.deepEqual(mx.taken, [["now@a.test"]]);
  await clock.advance(1);
  assert.deepEqual(mx.taken, [["now@a.test"], ["later@a.test"]]);
});

Deno.test("Scheduler flips the address family on a retry", async () => {
  await using world = new World();
  const { clock, network } = world;
  network.host("mx.a.test", { address: "2001:db8::1", answer: () => refuse("450 4.2.0 later") });
  network.domain("a.test", ["mx.a.test"]);
  await world.send(["u@a.test"]);
  await clock.advance(MINUTE);
  assert.deepEqual(network.familyHints, [undefined, 4]);
});

Deno.test("Scheduler tries the next host after a 4xx, a drop or no connection before the dot, never after it", async () => {
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
    await using world = new World();
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
});

Deno.test("Scheduler asks a host that said 4xx over no other address, but one that said nothing", async () => {
  const cases: { answer: HostAnswer; greeting?: string; asked: string[] }[] = [
    { answer: refuse("450 4.2.0 greylisted"), asked: ["192.0.2.1", "192.0.2.3"] },
    { answer: "relay", greeting: "450 4.3.2 later", asked: ["192.0.2.1", "192.0.2.3"] },
    { answer: { drop: "before-dot" }, asked: ["192.0.2.1", "192.0.2.2", "192.0.2.3"] },
  ];
  for (const { answer, greeting, asked } of cases) {
    const seen: string[] = [];
    await using world: World = new World({
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
});

Deno.test("Scheduler shows a dot without a reply in the entry and tries again later", async () => {
  await using world = new World();
  const mx = world.network.host("mx.a.test", { answer: () => ({ drop: "after-dot" }) });
  world.network.domain("a.test", ["mx.a.test"]);
  const id = await world.send(["u@a.test"]);
  await world.clock.advance(0);
  assert.equal(world.entry(id)?.recipients[0]?.attempts.at(-1)?.dotSentNoReply, true);
  mx.answer = () => "relay";
  await world.clock.advance(MINUTE);
  assert.equal(world.entry(id), undefined);
});

Deno.test("Scheduler gives each recipient its own outcome and tells the sender once", async () => {
  await using world = new World();
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

Deno.test("Scheduler honours NOTIFY", async () => {
  await using world = new World();
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

Deno.test("Scheduler tells nothing of success where the host took that over", async () => {
  await using world = new World();
  world.network.host("mx.a.test", { dsn: true });
  world.network.domain("a.test", ["mx.a.test"]);
  await world.send([{ address: "u@a.test", notify: ["SUCCESS"] }]);
  await world.clock.advance(0);
  assert.deepEqual(world.notices, []);
  assert.deepEqual(world.queue.entries, []);
});

Deno.test("Scheduler holds a message with a null sender that fails, and says so", async () => {
  await using world = new World();
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

Deno.test("Scheduler tells the sender of a delay, once, when it is due and not when it is next tried", async () => {
  await using world = new World();
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
});

Deno.test("Scheduler expires a message with the attempt after its time is over", async () => {
  await using world = new World();
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

Deno.test("Scheduler after a long stop tries a message before it expires, and more than once", async () => {
  const first = new World();
  const { network, clock } = first;
  network.host("mx.a.test", { state: "refused" });
  network.domain("a.test", ["mx.a.test"]);
  const id = await first.send(["u@a.test"]);
  await clock.advance(2 * HOUR);
  await using second = first.crash();
  clock.jump(6 * DAY);
  await second.scheduler.start();
  await clock.advance(0);
  assert.equal(second.entry(id)?.recipients[0]?.status, "pending");
  assert(second.events("attempt.deferred").length > 0);
  await clock.advance(5 * HOUR);
  assert.equal(second.events("queue.expired").length, 1);
});

Deno.test("Scheduler does not care about a clock that jumps a year ahead or back", async () => {
  for (const jump of [365 * DAY, -365 * DAY, DAY, -DAY]) {
    await using world = new World();
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

Deno.test("Scheduler started under a wrong clock does not expire what it can try again under the right one", async () => {
  const first = new World();
  const { network, clock } = first;
  const mx = network.host("mx.a.test", { state: "refused" });
  network.domain("a.test", ["mx.a.test"]);
  const id = await first.send(["u@a.test"]);
  await clock.advance(10 * MINUTE);
  await using second = first.crash();
  clock.jump(365 * DAY);
  await second.scheduler.start();
  await clock.advance(5 * SECOND);
  clock.jump(-365 * DAY);
  await clock.advance(DAY);
  assert.equal(second.entry(id)?.recipients[0]?.status, "pending");
  mx.state = "up";
  await clock.advance(4 * HOUR);
  assert.equal(second.entry(id), undefined);
});

Deno.test("Scheduler does not wait a year for what was written under a clock a year ahead", async () => {
  await using world = new World();
  const mx = world.network.host("mx.a.test");
  world.network.domain("a.test", ["mx.a.test"]);
  const nextAttemptAt = world.clock.now() + 365 * DAY;
  await world.send([{ address: "u@a.test", nextAttemptAt }]);
  await world.clock.advance(5 * HOUR);
  assert.equal(mx.taken.length, 1);
});

Deno.test("Scheduler keeps to the cap of connections per host, over all its domains", async () => {
  await using world = new World({ maxConnectionsPerHost: 3 });
  const { network, clock } = world;
  const mx = network.host("mx.shared.test", { delay: 100 });
  for (let d = 0; d < 10; d++) network.domain(`d${d}.test`, ["mx.shared.test"]);
  for (let i = 0; i < 100; i++) await world.send([`u@d${i % 10}.test`]);
  await clock.advance(10 * SECOND);
  assert.equal(mx.taken.length, 100);
  assert.equal(mx.mostOpen, 3);
  assert.equal(world.scheduler.status.ready, 0);
});

Deno.test("Scheduler keeps to the cap of workers and serves destinations in turn", async () => {
  await using world = new World({ maxWorkers: 4, maxConnectionsPerHost: 4 });
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

Deno.test("Scheduler lets no number of silent domains hold up fresh mail for long", async () => {
  await using world = new World({ maxWorkers: 8 });
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

Deno.test("Scheduler shares what was learnt about a dead host, and probes it with one connection", async () => {
  await using world = new World();
  const { network, clock } = world;
  const mx = network.host("mx.a.test", { state: "silent" });
  network.domain("a.test", ["mx.a.test"]);
  const ids: string[] = [];
  for (let i = 0; i < 50; i++) ids.push(await world.send(["u@a.test"]));
  await clock.advance(31 * SECOND);
  assert(mx.askedAt.length <= 5, `${mx.askedAt.length} connections`);
  for (const id of ids) {
    const recipient = world.entry(id)?.recipients[0];
    assert.equal(recipient?.attemptCount, 1);
    assert.match(recipient?.attempts[0]?.error ?? "", /^connection timed out/);
  }
  const before = mx.askedAt.length;
  await clock.advance(90 * SECOND);
  assert.equal(mx.askedAt.length, before + 1, "one probe for the whole batch");
  mx.state = "up";
  await clock.advance(6 * MINUTE);
  assert.equal(mx.taken.length, 50);
});

Deno.test("Scheduler holds against no host that one domain's TLS policy forbids it", async () => {
  await using world = new World();
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

Deno.test("Scheduler gives a host that answers 4.7.28 a rest, then returns with care", async () => {
  await using world = new World();
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
  assert.equal(mx.askedAt.length, asked, "nobody asks for ten minutes");
  await clock.advance(1500);
  assert.equal(mx.mostOpen, 1, "one connection");
  await clock.advance(20 * MINUTE);
  assert.equal(mx.taken.length, 40);
  assert.equal(world.events("host.slowed").length, 1);
});

Deno.test("Scheduler expires what waits for a host that only ever asks for less", async () => {
  await using world = new World();
  const { network, clock } = world;
  network.host("mx.a.test", { answer: () => refuse("421 4.7.28 unusual rate of mail") });
  network.host("mx.example.org");
  network.domain("a.test", ["mx.a.test"]);
  network.domain("example.org", ["mx.example.org"]);
  for (let i = 0; i < 5; i++) await world.send(["u@a.test"]);
  await clock.advance(5 * DAY + 9 * HOUR);
  assert.equal(world.events("queue.expired").length, 5);
});

Deno.test("Scheduler stopped in mid-message lets it finish within the grace period", async () => {
  const world = new World();
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

Deno.test("Scheduler stopped with the grace period over leaves what had not come to its dot as it was", async () => {
  const world = new World();
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
});

Deno.test("Scheduler never sends to the same recipient twice at a time", async () => {
  await using world = new World();
  const { network, clock, queue, scheduler } = world;
  const mx = network.host("mx.a.test", { delay: SECOND });
  network.domain("a.test", ["mx.a.test"]);
  const summary = await queue.put(["u@a.test"], { acceptedAt: clock.now() });
  scheduler.submit(summary);
  scheduler.submit(summary);
  scheduler.expedite(summary.id, { acceptedAt: summary.acceptedAt, domains: ["a.test"] });
  await clock.advance(10 * SECOND);
  assert.equal(mx.taken.length, 1);
});

Deno.test("Scheduler sends nothing more while an outcome cannot be stored, and nothing twice", async () => {
  await using world = new World({ maxConnectionsPerHost: 1 });
  const { network, clock, queue } = world;
  const mx = network.host("mx.a.test");
  network.domain("a.test", ["mx.a.test"]);
  let full = true;
  queue.before = ({ kind }) => {
    if (full && kind === "remove") throw new Error("no space left on device");
  };
  for (let i = 0; i < 20; i++) await world.send(["u@a.test"]);
  await clock.advance(MINUTE);
  assert(mx.taken.length <= 2, `${mx.taken.length} sent`);
  full = false;
  await clock.advance(MINUTE);
  assert.equal(mx.taken.length, 20);
  assert.deepEqual(queue.entries, []);
});

Deno.test("Scheduler killed at any change on disk loses nothing, doubles at most one message, and no notice", async () => {
  // Each message: one recipient relayed, one refused, so that a notice follows.
  const run = async (crashAt: number) => {
    const first = new World();
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
    await using second = first.crash();
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
});

Deno.test("Scheduler sends no notice found at the start before it knows that none of them is half done", async () => {
  const first = new World();
  const home = first.network.host("mx.example.org");
  first.network.domain("example.org", ["mx.example.org"]);
  const { id: notice } = await first.queue.put(["sender@example.org"], { reversePath: "" });
  await first.queue.put([{ address: "u@a.test", status: "failed", notice }]);
  await using second = first.crash();
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
});

Deno.test("Scheduler keeps a message whose entry cannot be read, and comes back to it", async () => {
  await using world = new World();
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

Deno.test("Scheduler sends what it saw of a queue that it cannot read to the end, notices too", async () => {
  const first = new World();
  first.network.host("mx.a.test");
  first.network.domain("a.test", ["mx.a.test"]);
  for (const reversePath of ["", "sender@example.org"]) await first.queue.put(["u@a.test"], { reversePath });
  await using second = first.crash();
  const scan = second.queue.scan.bind(second.queue);
  second.queue.scan = async function* () {
    yield* scan();
    throw new Error("input/output error");
  };
  await assert.rejects(second.scheduler.start());
  await second.clock.advance(0);
  assert.equal(first.network.hosts.get("mx.a.test")?.taken.length, 2);
});

Deno.test("Scheduler.domainStatus() says when a domain is tried next", async () => {
  await using world = new World();
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
