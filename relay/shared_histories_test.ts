// Histories of two schedulers on one queue: commits are lost, or their answers; leases run out, processes are killed, their clocks are set.
// Whatever happens, each message arrives or its sender is told, and nothing arrives twice without a record.
import assert from "node:assert/strict";
import { setImmediate } from "node:timers";
import type { Clock, Timer } from "../base/clock.ts";
import { fc } from "../tests/support/property.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import type { QueueChange } from "../tests/support/memory_queue.ts";
import type { FakeHost, HostAnswer } from "../tests/support/relay_network.ts";
import { DAY, HOUR, MINUTE, refuse, SECOND, World } from "../tests/support/scheduler_world.ts";
import { SharedMemoryQueue } from "../tests/support/shared_memory_queue.ts";

/** How many histories; `MAILAPP_HISTORIES=100000` for the long form. */
const RUNS = Number(Deno.env.get("MAILAPP_HISTORIES") ?? 200);

const ANSWERS: readonly HostAnswer[] = [
  "relay",
  "relay",
  refuse("450 4.2.0 later"),
  refuse("450 4.2.0 later", true),
  refuse("550 5.1.1 no such user"),
  refuse("554 5.7.1 no", true),
  { drop: "before-dot" },
  { drop: "after-dot" },
];
const KINDS: readonly QueueChange["kind"][] = ["add", "update", "remove", "dotSent", "dotAnswered"];

type Step =
  | { readonly do: "send"; readonly owner: number; readonly recipients: number }
  | { readonly do: "wait"; readonly ms: number }
  /** What an owner has is free, which it learns at its next change. */
  | { readonly do: "expire"; readonly owner: number }
  | { readonly do: "revive"; readonly owner: number }
  /** Killed, and started again. */
  | { readonly do: "kill"; readonly owner: number }
  /** The next changes of this kind have no effect, or their answer does not arrive. */
  /** The wall clock of a process is set; the queue's goes on as it was. */
  | { readonly do: "set clock"; readonly owner: number; readonly ms: number }
  | {
    readonly do: "fail";
    readonly owner: number;
    readonly kind: QueueChange["kind"];
    readonly lost: "commit" | "answer";
    readonly times: number;
  }
  | { readonly do: "answer"; readonly host: number; readonly answer: HostAnswer; readonly delay: number };

const owner = fc.nat(1);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant("send"), owner, recipients: fc.integer({ min: 1, max: 3 }) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("wait"),
      ms: fc.constantFrom(0, SECOND, 20 * SECOND, MINUTE, 10 * MINUTE, HOUR, 5 * HOUR),
    }),
  },
  fc.record({ do: fc.constant("expire"), owner }),
  fc.record({ do: fc.constant("revive"), owner }),
  fc.record({ do: fc.constant("kill"), owner }),
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("set clock"),
      owner,
      ms: fc.constantFrom(-30 * DAY, -DAY, -HOUR, -5 * SECOND, 5 * SECOND, 10 * MINUTE, 3 * HOUR, 2 * DAY),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("fail"),
      owner,
      kind: fc.constantFrom(...KINDS),
      lost: fc.constantFrom("commit", "answer"),
      times: fc.integer({ min: 1, max: 4 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("answer"),
      host: fc.nat(1),
      answer: fc.constantFrom(...ANSWERS),
      delay: fc.constantFrom(0, 5 * SECOND, 40 * SECOND),
    }),
  },
) as fc.Arbitrary<Step>;

/** One of the two processes. */
interface Process {
  readonly clock: HostClock;
  world: World;
  expired: boolean;
  /** How often changes of each kind are still to fail. */
  readonly failures: Map<string, number>;
}

/** The clock of a process, which is ahead of the queue's, or behind it. */
class HostClock implements Clock {
  ahead = 0;
  constructor(private readonly queue: FakeClock) {}

  now(): number {
    return this.queue.now() + this.ahead;
  }

  monotonic(): number {
    return this.queue.monotonic();
  }

  after(ms: number, callback: () => void): Timer {
    return this.queue.after(ms, callback);
  }
}

const turn = () => new Promise<void>((resolve) => void setImmediate(resolve));

class History {
  readonly #clock = new FakeClock(undefined, { settle: async () => void (await turn(), await turn()) });
  readonly #processes: Process[] = [];
  readonly #worlds: World[] = [];
  readonly #hosts: FakeHost[] = [];
  readonly #home: FakeHost;
  readonly #accepted = new Map<string, { readonly sender: string; readonly recipients: readonly string[] }>();
  #count = 0;

  constructor() {
    const clocks = [new HostClock(this.#clock), new HostClock(this.#clock)] as const;
    const first = new World({}, { sharedWith: "nobody", clock: this.#clock, hostClock: clocks[0] });
    const { network } = first;
    for (const name of ["a.test", "b.test"]) {
      this.#hosts.push(network.host(`mx.${name}`));
      network.domain(name, [`mx.${name}`]);
    }
    this.#home = network.host("mx.home.test");
    network.domain("home.test", ["mx.home.test"]);
    this.#add(first, clocks[0]);
    this.#add(new World({}, { sharedWith: first, hostClock: clocks[1] }), clocks[1]);
  }

  async run(steps: readonly Step[]): Promise<void> {
    for (const process of this.#processes.slice(1)) await process.world.scheduler.start();
    for (const step of steps) await this.#take(step);
    for (const { failures } of this.#processes) failures.clear();
    for (const host of this.#hosts) Object.assign(host, { answer: () => "relay", delay: 0 });
    for (const process of this.#processes) this.#revive(process);
    await this.#clock.advance(7 * DAY);
    this.#check();
    for (const { world } of this.#processes) await world[Symbol.asyncDispose]();
  }

  #add(world: World, clock: HostClock): void {
    const process: Process = { world, clock, expired: false, failures: new Map() };
    this.#processes.push(process);
    this.#prepare(process);
  }

  #prepare({ world, failures }: Process): void {
    this.#worlds.push(world);
    const fails = (key: string) => {
      const left = failures.get(key) ?? 0;
      if (left > 0) failures.set(key, left - 1);
      return left > 0;
    };
    world.queue.before = ({ kind }) => {
      if (fails(`${kind} commit`)) throw new Error("the commit is lost");
    };
    world.queue.after = ({ kind }) => {
      if (fails(`${kind} answer`)) throw new Error("the answer is lost");
    };
  }

  async #take(step: Step): Promise<void> {
    if (step.do === "wait") return await this.#clock.advance(step.ms);
    if (step.do === "answer") {
      return void Object.assign(this.#hosts[step.host] ?? {}, {
        answer: () => step.answer,
        delay: step.delay,
      });
    }
    const process = this.#processes[step.owner];
    if (process === undefined) return;
    const queue = process.world.queue as SharedMemoryQueue;
    switch (step.do) {
      case "send":
        return await this.#send(process, step.recipients);
      case "expire":
        process.expired = true;
        return queue.expire();
      case "revive":
        return this.#revive(process);
      case "kill":
        return await this.#kill(process);
      case "set clock":
        return void (process.clock.ahead += step.ms);
      case "fail":
        return void process.failures.set(`${step.kind} ${step.lost}`, step.times);
    }
  }

  async #send({ world, expired }: Process, count: number): Promise<void> {
    // A process without a lease accepts nothing.
    if (expired) return;
    const number = ++this.#count;
    const recipients = Array.from(
      { length: count },
      (_, index) => `m${number}r${index}@${index % 2 ? "b" : "a"}.test`,
    );
    const sender = `s${number}@home.test`;
    try {
      const id = await world.send(recipients, { reversePath: sender });
      this.#accepted.set(id, { sender, recipients });
    } catch {
      // The client was told so.
    }
  }

  #revive(process: Process): void {
    if (!process.expired) return;
    process.expired = false;
    (process.world.queue as SharedMemoryQueue).revive();
  }

  async #kill(process: Process): Promise<void> {
    const { world } = process;
    const queue = world.queue as SharedMemoryQueue;
    queue.before = () => new Promise(() => {});
    queue.expire();
    process.expired = false;
    process.failures.clear();
    // The ids of its messages begin like those of the latest one, and go on otherwise.
    process.world = new World({}, { sharedWith: this.#worlds.at(-1) ?? world, hostClock: process.clock });
    this.#prepare(process);
    await process.world.scheduler.start();
  }

  #check(): void {
    const queue = this.#processes[0]?.world.queue as SharedMemoryQueue;
    assert.deepEqual(queue.entries, [], "something is left in the queue");
    for (const { world } of this.#processes) {
      assert.deepEqual(world.scheduler.status, { waiting: 0, ready: 0, active: 0 });
    }
    const recorded = new Set(queue.store.unanswered);
    for (const world of this.#worlds) {
      for (const { dot_sent_no_reply, recipient } of world.events("attempt.deferred")) {
        if (dot_sent_no_reply) recorded.add(String(recipient));
      }
    }
    const taken = new Map<string, number>();
    for (const { taken: all } of [...this.#hosts, this.#home]) {
      for (const address of all.flat()) taken.set(address, (taken.get(address) ?? 0) + 1);
    }
    const { notices } = this.#worlds[0] ?? { notices: [] };
    for (const [id, { sender, recipients }] of this.#accepted) {
      const about = notices.filter((notice) => notice.about === id);
      const failed = new Set(about.flatMap(({ kind, recipients }) => kind === "failure" ? recipients : []));
      for (const address of recipients) {
        const copies = taken.get(address) ?? 0;
        if (copies === 0) {
          assert.ok(failed.has(address), `${address} is lost`);
          assert.ok(taken.get(sender), `${sender} was not told of ${address}`);
        }
        assert.ok(copies <= 1 || recorded.has(address), `${address} has ${copies} copies without a record`);
      }
      const different = new Set(about.map(({ kind, recipients }) => `${kind} ${recipients}`)).size;
      const told = taken.get(sender) ?? 0;
      assert.ok(
        told <= different || recorded.has(sender),
        `${sender} was told ${told} times of ${different}`,
      );
    }
  }
}

Deno.test(`two schedulers on one queue lose nothing, and double nothing without a record, in ${RUNS} histories`, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 25 }), (steps) => new History().run(steps)),
    { numRuns: RUNS, ...(RUNS <= 200 && { seed: 1 }) },
  );
});
