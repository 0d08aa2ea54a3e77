/**
 * A scheduler in its own world, in which no time passes but what a test lets pass.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Clock } from "../../base/clock.ts";
import type { LogFields, Logger } from "../../base/log.ts";
import type { OpenEntry } from "../../relay/open_entries.ts";
import type { QueueEntry } from "../../relay/queue_entry.ts";
import { Scheduler } from "../../relay/scheduler.ts";
import type { SchedulerOptions } from "../../relay/scheduler_options.ts";
import type { NoticeRequest } from "../../relay/settle.ts";
import { FakeClock } from "./fake_clock.ts";
import { MemoryQueue, type TestQueue } from "./memory_queue.ts";
import { SharedMemoryQueue } from "./shared_memory_queue.ts";
import { newEntry } from "./queue_entry.ts";
import { type HostAnswer, RelayNetwork } from "./relay_network.ts";
import { SCHEDULE } from "./retry_schedule.ts";
import { type Storage, StoredQueue } from "./stored_queue.ts";

/** Milliseconds. */
export const SECOND = 1000;
/** Milliseconds. */
export const MINUTE = 60 * SECOND;
/** Milliseconds. */
export const HOUR = 60 * MINUTE;
/** Milliseconds. */
export const DAY = 24 * HOUR;

/** A notice as it was asked for. */
export interface Notice {
  readonly kind: string;
  readonly about: string;
  readonly recipients: readonly string[];
}

/** A test of the table that all queues are tried with. */
export interface SchedulerTest {
  readonly name: string;
  /** Whether it is about a queue with one owner alone. */
  readonly soleOwner: boolean;
  readonly work: () => void | Promise<void>;
}

let kind: "sole" | "shared" = "sole";
/** Tests are put here in place of being defined. */
let table: SchedulerTest[] | undefined;
/** Where the worlds of the running test have their queues, if not in memory. */
let nextStorage: (() => Promise<Storage>) | undefined;
const storedQueues = new Set<StoredQueue>();
const storages = new Set<Storage>();

/** Defines a test of the scheduler for each kind of queue in memory: one with a single owner, and one with several. */
export function testOnEachQueue(name: string, work: () => void | Promise<void>): void {
  if (table !== undefined) return void table.push({ name, work, soleOwner: false });
  Deno.test(name, work);
  Deno.test(`${name}, in a queue with several owners`, async () => {
    kind = "shared";
    try {
      await work();
    } finally {
      kind = "sole";
    }
  });
}

/** Defines a test that needs the order in which queues in memory are read. */
export function testInMemory(name: string, work: () => void | Promise<void>): void {
  if (table === undefined) testOnEachQueue(`${name}, in memory`, work);
}

/** Defines a test that is about a queue with one owner, which keeps waiting messages in memory. */
export function testOnSoleOwner(name: string, work: () => void | Promise<void>): void {
  const whole = `${name}, in a queue with one owner`;
  if (table !== undefined) table.push({ name: whole, work, soleOwner: true });
  else Deno.test(whole, work);
}

/** The tests that files define when they are imported, for other queues than those in memory. */
export async function schedulerTests(importFiles: () => Promise<unknown>): Promise<readonly SchedulerTest[]> {
  const found: SchedulerTest[] = [];
  table = found;
  try {
    await importFiles();
  } finally {
    table = undefined;
  }
  return found;
}

/** Runs a test with its queues in such storages. */
export async function runStored({ work }: SchedulerTest, storage: () => Promise<Storage>): Promise<void> {
  nextStorage = storage;
  try {
    await work();
  } finally {
    nextStorage = undefined;
    for (const queue of storedQueues) await queue.end();
    storedQueues.clear();
    for (const one of storages) await one[Symbol.asyncDispose]();
    storages.clear();
  }
}

/**
 * A scheduler in its own world. `crash` begins a new process on what the old one had stored; `sharedWith` another
 * world makes this one a second owner of its queue.
 */
export class World {
  readonly clock: FakeClock;
  readonly network: RelayNetwork;
  readonly queue: TestQueue;
  readonly scheduler: Scheduler;
  readonly #storage: Storage | undefined;
  readonly notices: Notice[];
  readonly log: { readonly level: string; readonly event: string; readonly fields: LogFields }[] = [];

  constructor(
    options: Partial<SchedulerOptions> = {},
    { before, sharedWith, stored, hostClock, clock = new FakeClock() }: {
      readonly before?: World;
      /** Its queue, if it is not in memory. */
      readonly stored?: { readonly storage: Storage; readonly queue: StoredQueue };
      readonly sharedWith?: World | "nobody";
      /** That of the scheduler, where the queue has another one. */
      readonly hostClock?: Clock;
      readonly clock?: FakeClock;
    } = {},
  ) {
    const other = sharedWith === "nobody" ? undefined : sharedWith;
    this.#storage = stored?.storage;
    this.clock = stored?.storage.clock ?? (other ?? before)?.clock ?? clock;
    this.network = (other ?? before)?.network ?? new RelayNetwork(this.clock);
    this.queue = stored !== undefined
      ? stored.queue
      : kind === "shared" || sharedWith !== undefined
      ? new SharedMemoryQueue(this.clock, (other ?? before)?.queue as SharedMemoryQueue | undefined, {
        after: before !== undefined,
        hostClock: hostClock ?? this.clock,
      })
      : new MemoryQueue(before?.queue as MemoryQueue | undefined, this.clock);
    this.notices = (other ?? before)?.notices ?? [];
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
      clock: hostClock ?? this.clock,
      random: () => 0,
      logger,
      schedule: SCHEDULE,
      route: this.network.route,
      connect: this.network.connect,
      compose: (request) => this.#compose(request),
      ...options,
    });
    // It scans nothing, and offers what is given back; a world after a crash begins when its test says so.
    if (this.queue.shared !== undefined && before === undefined && other === undefined) {
      void this.scheduler.start();
    }
  }

  /** Makes one on the kind of queue that the running test is for. */
  static async open(options: Partial<SchedulerOptions> = {}): Promise<World> {
    if (nextStorage === undefined) return new World(options);
    const storage = await nextStorage();
    storages.add(storage);
    return new World(options, { stored: { storage, queue: await World.#openQueue(storage) } });
  }

  static async #openQueue(storage: Storage): Promise<StoredQueue> {
    const { clock } = storage;
    const queue = new StoredQueue(await storage.open(), clock);
    storedQueues.add(queue);
    clock.stopped = () => queue.refresh();
    return queue;
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

  /** Changes an entry from outside, as an operator does. */
  async change(id: string, change: (opened: OpenEntry) => void): Promise<boolean> {
    using opened = await this.scheduler.entries.open(id) ?? assert.fail(`no entry ${id}`);
    change(opened);
    return await this.scheduler.change(opened);
  }

  /** An entry as it is stored. */
  entry(id: string): QueueEntry | undefined {
    return this.queue.entries.find((entry) => entry.id === id);
  }

  events(event: string): LogFields[] {
    return this.log.filter((line) => line.event === event).map(({ fields }) => fields);
  }

  /** Begins a new process on what this one has stored. */
  async crash(options: Partial<SchedulerOptions> = {}): Promise<World> {
    // Whatever the old process still does has no effect.
    this.queue.before = () => new Promise(() => {});
    const storage = this.#storage;
    if (storage === undefined || !(this.queue instanceof StoredQueue)) {
      return new World(options, { before: this });
    }
    await this.queue.end();
    return new World(options, { before: this, stored: { storage, queue: await World.#openQueue(storage) } });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.queue.before = () => {};
    const stopped = this.scheduler.stop(0);
    await this.clock.advance(0);
    await stopped;
    if (this.queue instanceof StoredQueue) await this.queue.end();
  }
}

/** A reply that refuses, at the dot or at RCPT. */
export function refuse(reply: string, atDot = false): HostAnswer {
  const status = /[45]\.\d+\.\d+/.exec(reply)?.[0] ?? "";
  return { reply, status, atDot };
}
