/**
 * A scheduler in its own world, in which no time passes but what a test lets pass.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { LogFields, Logger } from "../../base/log.ts";
import type { OpenEntry } from "../../relay/open_entries.ts";
import type { QueueEntry } from "../../relay/queue_entry.ts";
import { Scheduler } from "../../relay/scheduler.ts";
import type { SchedulerOptions } from "../../relay/scheduler_options.ts";
import type { NoticeRequest } from "../../relay/settle.ts";
import { FakeClock } from "./fake_clock.ts";
import { MemoryQueue } from "./memory_queue.ts";
import { SharedMemoryQueue } from "./shared_memory_queue.ts";
import { newEntry } from "./queue_entry.ts";
import { type HostAnswer, RelayNetwork } from "./relay_network.ts";
import { SCHEDULE } from "./retry_schedule.ts";

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

let kind: "sole" | "shared" = "sole";

/** Defines a test of the scheduler for each kind of queue: one with a single owner, and one with several. */
export function testOnEachQueue(name: string, work: () => void | Promise<void>): void {
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

/**
 * A scheduler in its own world. `crash` begins a new process on what the old one had stored; `sharedWith` another
 * world makes this one a second owner of its queue.
 */
export class World {
  readonly clock: FakeClock;
  readonly network: RelayNetwork;
  readonly queue: MemoryQueue;
  readonly scheduler: Scheduler;
  readonly notices: Notice[];
  readonly log: { readonly level: string; readonly event: string; readonly fields: LogFields }[] = [];

  constructor(
    options: Partial<SchedulerOptions> = {},
    { before, sharedWith, clock = new FakeClock() }: {
      readonly before?: World;
      readonly sharedWith?: World | "nobody";
      readonly clock?: FakeClock;
    } = {},
  ) {
    const other = sharedWith === "nobody" ? undefined : sharedWith;
    this.clock = (other ?? before)?.clock ?? clock;
    this.network = (other ?? before)?.network ?? new RelayNetwork(this.clock);
    this.queue = kind === "shared" || sharedWith !== undefined
      ? new SharedMemoryQueue(this.clock, (other ?? before)?.queue as SharedMemoryQueue | undefined, {
        after: before !== undefined,
      })
      : new MemoryQueue(before?.queue, this.clock);
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
      clock: this.clock,
      random: () => 0,
      logger,
      schedule: SCHEDULE,
      route: this.network.route,
      connect: this.network.connect,
      compose: (request) => this.#compose(request),
      ...options,
    });
    // It scans nothing, and offers what is given back; a world after a crash begins when its test says so.
    if (this.queue instanceof SharedMemoryQueue && before === undefined && other === undefined) {
      void this.scheduler.start();
    }
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

  crash(options: Partial<SchedulerOptions> = {}): World {
    // Whatever the old process still does has no effect.
    this.queue.before = () => new Promise(() => {});
    return new World(options, { before: this });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.queue.before = () => {};
    const stopped = this.scheduler.stop(0);
    await this.clock.advance(0);
    await stopped;
  }
}

/** A reply that refuses, at the dot or at RCPT. */
export function refuse(reply: string, atDot = false): HostAnswer {
  const status = /[45]\.\d+\.\d+/.exec(reply)?.[0] ?? "";
  return { reply, status, atDot };
}
