/**
 * A queue in memory that remembers what a disk would, so that tests can "crash" and start again from it.
 *
 * @module
 */
import { concat } from "../../base/concat.ts";
import type { Clock } from "../../base/clock.ts";
import type { NewEntry, Queue, QueuedMessage, QueueDraft, QueueSummary } from "../../relay/queue.ts";
import type { Attempt, QueueEntry, QueueRecipient } from "../../relay/queue_entry.ts";
import { coverage } from "../../relay/stored/entry.ts";
import { hasUndeliverable } from "../../relay/undeliverable.ts";
import { newEntry } from "./queue_entry.ts";

/** One call that changed something: `add`, `update`, `remove`, `dotSent`, `dotAnswered`, with the id. */
export interface QueueChange {
  readonly kind: "add" | "update" | "remove" | "dotSent" | "dotAnswered";
  readonly id: string;
}

/** What tests want of a queue. */
export interface TestQueue extends Queue {
  /** All entries as they are stored. */
  readonly entries: QueueEntry[];
  /** What was changed, in order. */
  readonly changes: readonly QueueChange[];
  /** Called before each change; throws to make it fail, never resolves to stop the world there. */
  before: (change: QueueChange) => void | Promise<void>;
  /** Called after each change; throws to make its answer be lost. */
  after: (change: QueueChange) => void;
  /** Adds a message to these recipients, due at once, as {@linkcode Queue.add} does; what the scheduler is to be told. */
  put(
    recipients: readonly (string | Partial<QueueRecipient> & { readonly address: string })[],
    options?: Partial<QueueEntry>,
  ): Promise<QueueSummary>;
}

/** An entry as it is stored. */
export interface Stored {
  entry: QueueEntry;
  readonly message: Uint8Array;
  /** When it was accepted, in monotonic time. */
  readonly born: number;
  /** Final dots that the entry does not tell of yet, by recipient. */
  readonly dots: Map<number, OpenDot>;
}

interface OpenDot {
  readonly attempt: Attempt;
  relayed: boolean;
}

/** A {@linkcode Queue} for tests. */
export class MemoryQueue implements TestQueue {
  /** What is stored, by id. */
  protected readonly stored: Map<string, Stored>;
  readonly #random: string;
  readonly #clock: Clock | undefined;
  #count = 0;
  /** What was changed, in order. */
  readonly changes: QueueChange[] = [];
  /** Called before each change; throws to make it fail, never resolves to stop the world there. */
  before: (change: QueueChange) => void | Promise<void> = () => {};
  /** Called after each change; throws to make its answer be lost. */
  after: (change: QueueChange) => void = () => {};

  /**
   * @param from The queue whose durable content this one takes over, as after a crash
   * @param clock Measures how old entries are; without one all are new
   * @param options `stored`: what is stored, if it is shared with another queue
   */
  constructor(
    from?: MemoryQueue,
    clock?: Clock,
    { stored }: { readonly stored?: Map<string, Stored> | undefined } = {},
  ) {
    this.#clock = clock;
    this.#random = `${from === undefined ? "" : `${from.#random}x`}`;
    this.stored = stored ?? new Map();
    if (stored !== undefined) return;
    for (const [id, stored] of from === undefined ? [] : from.stored) {
      this.stored.set(id, { ...stored, entry: structuredClone(stored.entry), dots: new Map(stored.dots) });
    }
  }

  /** All entries as they are stored. */
  get entries(): QueueEntry[] {
    return [...this.stored.values()].map(({ entry }) => structuredClone(entry));
  }

  /** The text of a stored message. */
  text(id: string): string {
    return new TextDecoder().decode(this.stored.get(id)?.message);
  }

  /** Adds a message to these recipients, due at once, as {@linkcode Queue.add} does; what the scheduler is to be told. */
  async put(
    recipients: readonly (string | Partial<QueueRecipient> & { readonly address: string })[],
    options: Partial<QueueEntry> = {},
  ): Promise<QueueSummary> {
    const id = options.id ?? this.newId();
    await this.add(
      newEntry(recipients, { ...options, id }),
      new TextEncoder().encode("Subject: x\r\n\r\nx\r\n"),
    );
    const stored = this.stored.get(id);
    if (stored === undefined) throw new Error("not added");
    return this.summarize(stored.entry);
  }

  newId(): string {
    return `q${this.#random}${(++this.#count).toString().padStart(7, "0")}`;
  }

  async add(entry: NewEntry, message: Uint8Array): Promise<void> {
    await this.#change({ kind: "add", id: entry.id }, () => {
      const clock = this.#clock;
      const born = clock === undefined ? 0 : clock.monotonic() - Math.max(0, clock.now() - entry.acceptedAt);
      this.stored.set(entry.id, { entry: structuredClone(entry), message, born, dots: new Map() });
    });
  }

  ageOf({ id }: Pick<QueueEntry, "id">): number {
    const { born } = this.stored.get(id) ?? {};
    return this.#clock === undefined || born === undefined ? 0 : this.#clock.monotonic() - born;
  }

  begin(id: string): QueueDraft {
    const chunks: Uint8Array[] = [];
    const size = () => chunks.reduce((sum, { length }) => sum + length, 0);
    return {
      id,
      get size() {
        return size();
      },
      write: (chunk) => void chunks.push(chunk.slice()),
      chunks: () => ReadableStream.from(chunks),
      commit: async (rest, prepend) => {
        const entry = { ...rest, id, size: prepend.length + size() };
        await this.add(entry, concat(prepend, ...chunks));
        return this.summarize(entry);
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  }

  async *scan(): AsyncGenerator<QueueSummary> {
    for (const { entry } of [...this.stored.values()]) {
      await Promise.resolve();
      const summary = this.summarize(entry);
      if (summary.due.length > 0 || summary.unfinished || summary.undeliverable) yield summary;
      else if (!entry.recipients.some(({ status }) => status === "held")) this.stored.delete(entry.id);
    }
  }

  async *ids(): AsyncGenerator<string> {
    yield* this.stored.keys();
  }

  load(id: string): Promise<QueueEntry | undefined> {
    return Promise.resolve(structuredClone(this.stored.get(id)?.entry));
  }

  async update(entry: QueueEntry): Promise<void> {
    const copy = structuredClone(entry);
    await this.#change({ kind: "update", id: entry.id }, () => {
      const stored = this.stored.get(entry.id);
      if (stored === undefined) return;
      stored.entry = copy;
      for (const [index, dot] of stored.dots) {
        const recipient = copy.recipients[index];
        if (recipient === undefined) continue;
        const { final, dots } = coverage(recipient);
        if (final || dots.includes(dot.attempt.at)) stored.dots.delete(index);
        else if (dot.relayed) recipient.status = "relayed";
        else recipient.attempts.push({ ...dot.attempt });
      }
    });
  }

  async remove(id: string): Promise<void> {
    await this.#change({ kind: "remove", id }, () => void this.stored.delete(id));
  }

  open(id: string): Promise<QueuedMessage> {
    const stored = this.stored.get(id);
    if (stored === undefined) return Promise.reject(new Error(`no message ${id}`));
    const { message } = stored;
    return Promise.resolve({
      size: message.length,
      async *chunks() {
        yield message;
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    });
  }

  /** See {@linkcode Queue}; a crash right after it leaves the attempt in the entry, as in the spool. */
  async dotSent(
    id: string,
    { recipients, host, address, at }: {
      recipients: readonly number[];
      host: string;
      address: string;
      at: number;
    },
  ): Promise<void> {
    await this.#change({ kind: "dotSent", id }, () => {
      const attempt = { at, host, address, status: "4.4.2", error: "unknown", dotSentNoReply: true } as const;
      const stored = this.stored.get(id);
      for (const index of recipients) {
        stored?.entry.recipients[index]?.attempts.push({ ...attempt });
        stored?.dots.set(index, { attempt, relayed: false });
      }
    });
  }

  async dotAnswered(
    id: string,
    { recipients, relayed }: { recipients: readonly number[]; relayed: boolean },
  ): Promise<void> {
    await this.#change({ kind: "dotAnswered", id }, () => {
      const stored = this.stored.get(id);
      for (const index of recipients) {
        const recipient = stored?.entry.recipients[index];
        const dot = stored?.dots.get(index);
        if (recipient === undefined || dot === undefined) continue;
        recipient.attempts.pop();
        if (relayed) recipient.status = "relayed";
        if (relayed) dot.relayed = true;
        else stored?.dots.delete(index);
      }
    });
  }

  /** Throws where this queue may not change an entry. */
  protected checkChange(_change: QueueChange): void {}

  async #change(change: QueueChange, apply: () => void): Promise<void> {
    // Durable changes take a turn at least.
    await Promise.resolve();
    await this.before(change);
    this.checkChange(change);
    this.changes.push(change);
    apply();
    this.after(change);
  }

  /** What the scheduler is to know of an entry. */
  protected summarize(entry: QueueEntry): QueueSummary {
    const due = new Map<string, number>();
    for (const { status, domain, nextAttemptAt } of entry.recipients) {
      if (status === "pending") due.set(domain, Math.min(due.get(domain) ?? Infinity, nextAttemptAt));
    }
    const unfinished = entry.recipients.some(({ status, settled, notice }) =>
      notice !== undefined || (status !== "pending" && status !== "held" && !settled)
    );
    return {
      id: entry.id,
      age: this.ageOf(entry),
      due: Array.from(due, ([domain, at]) => ({ domain, at })),
      ...(unfinished && { unfinished }),
      ...(hasUndeliverable(entry) && { undeliverable: true }),
    };
  }
}
