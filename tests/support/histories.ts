/**
 * Histories of two processes on one queue: commits are lost, or their answers; leases run out, processes are killed, their
 * clocks are set. Whatever happens, each message arrives or its sender is told, and nothing arrives twice without a
 * record.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Clock, Timer } from "../../base/clock.ts";
import type { FakeClock } from "./fake_clock.ts";
import { fc } from "./property.ts";
import type { FakeHost, HostAnswer } from "./relay_network.ts";
import { DAY, HOUR, MINUTE, refuse, SECOND, type World } from "./scheduler_world.ts";

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

/** What fails. */
export type Lost =
  /** It has no effect. */
  | "commit"
  /** It has, but its answer does not arrive. */
  | "answer"
  /** It has, some time after the process was told that the connection is lost. */
  | "late";

/** What happens in a history. */
export type Step =
  | { readonly do: "send"; readonly owner: number; readonly recipients: number }
  | { readonly do: "wait"; readonly ms: number }
  /** What an owner has is free, which it learns at its next change. */
  | { readonly do: "expire"; readonly owner: number }
  | { readonly do: "revive"; readonly owner: number }
  /** Killed, and started again. */
  | { readonly do: "kill"; readonly owner: number }
  /** The wall clock of a process is set; the queue's goes on as it was. */
  | { readonly do: "set clock"; readonly owner: number; readonly ms: number }
  /** The next ones of this kind fail. */
  | {
    readonly do: "fail";
    readonly owner: number;
    readonly kind: string;
    readonly lost: Lost;
    readonly times: number;
  }
  | { readonly do: "answer"; readonly host: number; readonly answer: HostAnswer; readonly delay: number };

/** Draws histories in which these can fail in these ways. */
export function histories(
  { kinds, ways, times }: {
    readonly kinds: readonly string[];
    readonly ways: readonly Lost[];
    readonly times: readonly number[];
  },
): fc.Arbitrary<Step[]> {
  const owner = fc.nat(1);
  const step = fc.oneof(
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
        kind: fc.constantFrom(...kinds),
        lost: fc.constantFrom(...ways),
        times: fc.constantFrom(...times),
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
  return fc.array(step, { minLength: 3, maxLength: 25, size: "max" });
}

/** What is still to fail. */
export class Failures {
  readonly #left = new Map<string, { readonly lost: Lost; times: number }[]>();

  /** Lets the next ones of this kind fail; several ways are used in turn. */
  add({ kind, lost, times }: { readonly kind: string; readonly lost: Lost; readonly times: number }): void {
    const all = this.#left.get(kind) ?? [];
    this.#left.set(kind, [...all.filter((one) => one.lost !== lost), { lost, times }]);
  }

  /** Whether the present one of this kind fails, and how; counts it. */
  take(kind: string, ways?: readonly Lost[]): Lost | undefined {
    const found = this.#left.get(kind)?.find(({ lost, times }) =>
      times > 0 && (ways?.includes(lost) ?? true)
    );
    if (found === undefined) return undefined;
    found.times--;
    return found.lost;
  }

  /** Lets nothing fail any more. */
  clear(): void {
    this.#left.clear();
  }
}

/** The clock of a process, which is ahead of the queue's, or behind it. */
export class HostClock implements Clock {
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

/** A process of a history. */
export interface HistoryProcess {
  readonly world: World;
  readonly failures: Failures;
  /** Whether it takes mail. */
  readonly accepts: boolean;
  /** Lets its lease run out. */
  expire(): Promise<void>;
  /** Gives it another one, if it has none. */
  revive(): Promise<void>;
  /** It does nothing any more, and has no lease. */
  kill(): Promise<void>;
}

/** Where the processes of a history have their queue. */
export interface HistoryQueue extends AsyncDisposable {
  readonly clock: FakeClock;
  /** Starts a process. `latest`: the one that was started last. */
  start(clock: HostClock, latest: World | undefined): Promise<HistoryProcess>;
  /** Lets time pass. */
  pass(ms: number): Promise<void>;
  /** Lets time pass until all that is left should be over. */
  finish(): Promise<void>;
  /** What is left. */
  left(): Promise<readonly unknown[]>;
  /** Recipients of dots of which the queue has recorded that they have no answer. */
  readonly recorded: ReadonlySet<string>;
}

/** Runs one history. */
export class History {
  readonly #queue: HistoryQueue;
  readonly #processes: HistoryProcess[] = [];
  readonly #clocks: readonly HostClock[];
  readonly #worlds: World[] = [];
  readonly #hosts: FakeHost[] = [];
  #home: FakeHost | undefined;
  readonly #accepted = new Map<string, { readonly sender: string; readonly recipients: readonly string[] }>();
  /** Recipients of messages that were refused. */
  readonly #refused = new Set<string>();
  #count = 0;

  constructor(queue: HistoryQueue) {
    this.#queue = queue;
    this.#clocks = [new HostClock(queue.clock), new HostClock(queue.clock)];
  }

  async run(steps: readonly Step[]): Promise<void> {
    for (const owner of this.#clocks.keys()) await this.#start(owner);
    for (const step of steps) await this.#take(step);
    for (const { failures } of this.#processes) failures.clear();
    for (const host of this.#hosts) Object.assign(host, { answer: () => "relay", delay: 0 });
    for (const process of this.#processes) await process.revive();
    await this.#queue.finish();
    await this.#check();
    for (const { world } of this.#processes) await world[Symbol.asyncDispose]();
  }

  /** Recipients that have a copy of a message which was refused. */
  get sentAlthoughRefused(): readonly string[] {
    return this.#hosts.flatMap(({ taken }) => taken.flat()).filter((address) => this.#refused.has(address));
  }

  async #start(owner: number): Promise<void> {
    const latest = this.#worlds.at(-1);
    const process = await this.#queue.start(this.#clocks[owner] as HostClock, latest);
    const { network, scheduler } = process.world;
    if (latest === undefined) {
      for (const name of ["a.test", "b.test"]) {
        this.#hosts.push(network.host(`mx.${name}`));
        network.domain(name, [`mx.${name}`]);
      }
      this.#home = network.host("mx.home.test");
      network.domain("home.test", ["mx.home.test"]);
    }
    this.#processes[owner] = process;
    this.#worlds.push(process.world);
    await scheduler.start();
  }

  async #take(step: Step): Promise<void> {
    if (step.do === "wait") return await this.#queue.pass(step.ms);
    if (step.do === "answer") {
      const { answer, delay } = step;
      return void Object.assign(this.#hosts[step.host] ?? {}, { answer: () => answer, delay });
    }
    const process = this.#processes[step.owner] as HistoryProcess;
    switch (step.do) {
      case "send":
        return await this.#send(process, step.recipients);
      case "expire":
        return await process.expire();
      case "revive":
        return await process.revive();
      case "kill":
        await process.kill();
        return await this.#start(step.owner);
      case "set clock":
        return void ((this.#clocks[step.owner] as HostClock).ahead += step.ms);
      case "fail":
        return process.failures.add(step);
    }
  }

  async #send({ world, accepts }: HistoryProcess, count: number): Promise<void> {
    if (!accepts) return;
    const number = ++this.#count;
    const recipients = Array.from(
      { length: count },
      (_, index) => `m${number}r${index}@${index % 2 ? "b" : "a"}.test`,
    );
    const sender = `s${number}@home.test`;
    // Where it is not accepted, the client was told so, or was left without an answer.
    void world.send(recipients, { reversePath: sender })
      .then(
        (id) => void this.#accepted.set(id, { sender, recipients }),
        () => recipients.forEach((address) => this.#refused.add(address)),
      );
    await this.#queue.pass(0);
  }

  async #check(): Promise<void> {
    assert.deepEqual(await this.#queue.left(), [], "something is left in the queue");
    for (const { world } of this.#processes) {
      assert.deepEqual(world.scheduler.status, { waiting: 0, ready: 0, active: 0 });
    }
    const recorded = new Set(this.#queue.recorded);
    for (const world of this.#worlds) {
      for (const { dot_sent_no_reply, recipient } of world.events("attempt.deferred")) {
        if (dot_sent_no_reply) recorded.add(String(recipient));
      }
    }
    const taken = new Map<string, number>();
    for (const { taken: all } of [...this.#hosts, ...this.#home === undefined ? [] : [this.#home]]) {
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
