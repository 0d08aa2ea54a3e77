/**
 * A queue in memory with several owners, each of which is a {@linkcode SharedMemoryQueue} on one
 * {@linkcode SharedStore}.
 *
 * @module
 */
import type { Clock, Timer } from "../../base/clock.ts";
import {
  type NewEntry,
  NotHeldError,
  type Queue,
  type QueueFollower,
  type SharedQueue,
} from "../../relay/queue.ts";
import { QueueTimes } from "../../relay/postgres/queue_times.ts";
import type { QueueSummary } from "../../relay/queue.ts";
import { isFinal, type QueueEntry } from "../../relay/queue_entry.ts";
import { MemoryQueue, type QueueChange } from "./memory_queue.ts";

/** What is given back is due later than this, in milliseconds. */
export const HORIZON = 10_000;
/** What is free, and still being worked on here as by a former owner, is looked at again after this time. */
const LOOK_EVERY = 2_000;
/** The wait after a dot without an answer whose owner is gone, in milliseconds. */
export const RESEND_AFTER = 60_000;

/** What the owners share beside the entries. */
export class SharedStore {
  /** By id: who owns an entry, or when it is to be offered (monotonic time). */
  readonly places = new Map<string, { owner?: SharedMemoryQueue; until: number }>();
  /** Ids of all notices that were ever added. */
  readonly notices = new Set<string>();
  /** Recipients of dots whose owner was gone before they were answered. */
  readonly unanswered = new Set<string>();
  /** Those that may own entries. */
  readonly owners = new Set<SharedMemoryQueue>();
}

/** One owner. */
export class SharedMemoryQueue extends MemoryQueue implements Queue {
  readonly store: SharedStore;
  readonly #now: Clock;
  readonly #times: QueueTimes;
  #follower: QueueFollower | undefined;
  #timer: Timer | undefined;

  /**
   * @param other Another owner of the same queue
   * @param options `after`: the other one is gone, and what it owned is free; `hostClock`: that of this owner, where it
   * is not the one of the store, by which times are stored
   */
  constructor(
    clock: Clock,
    other?: SharedMemoryQueue,
    { after = false, hostClock = clock }: { readonly after?: boolean; readonly hostClock?: Clock } = {},
  ) {
    super(other, clock, { stored: after ? undefined : other?.stored });
    this.#now = clock;
    this.#times = new QueueTimes(hostClock, () => clock.now());
    this.store = other?.store ?? new SharedStore();
    this.store.owners.add(this);
    if (other !== undefined && after) this.#takeFrom(other);
  }

  readonly shared: SharedQueue = {
    follow: (follower) => {
      this.#follower = follower;
      this.#look();
    },
    unfollow: () => this.#unfollow(),
    giveBack: (entry, wait) => {
      const place = this.store.places.get(entry.id);
      if (place?.owner !== this || wait <= HORIZON) return false;
      this.store.places.set(entry.id, { until: this.#now.monotonic() + wait });
      this.#tellAll();
      return true;
    },
    wasAdded: (id) => Promise.resolve(this.store.notices.has(id)),
  };

  /** Takes all that this owner has, as when its lease runs out while it sleeps; it gets an error at its next change. */
  expire(): void {
    this.store.owners.delete(this);
    this.#free(this);
    this.#tellAll();
  }

  /** Lets it be an owner again, which it knows. */
  revive(): void {
    this.#follower?.lost();
    this.store.owners.add(this);
    // What it added meanwhile bears its former number.
    this.#free(this);
    this.#tellAll();
  }

  #unfollow(): void {
    this.#timer?.cancel();
    this.#follower = undefined;
  }

  override async add(entry: NewEntry, message: Uint8Array): Promise<void> {
    const owned = () => {
      // What bears the number of an owner that is gone is free.
      const isOwner = this.store.owners.has(this);
      this.store.places.set(entry.id, isOwner ? { owner: this, until: 0 } : { until: 0 });
      if (!isOwner) this.#tellAll();
      if (entry.reversePath === "") this.store.notices.add(entry.id);
    };
    try {
      await super.add(shifted(entry, this.#times.offset), message);
      owned();
    } catch (error) {
      if (!this.stored.has(entry.id)) throw error;
      owned();
      // Nobody here knows of it: it is free.
      this.store.places.set(entry.id, { until: 0 });
      this.#tellAll();
      throw error;
    }
  }

  override async *scan(): AsyncGenerator<never> {}

  override async load(id: string): Promise<QueueEntry | undefined> {
    const place = this.store.places.get(id);
    if (place === undefined || !this.store.owners.has(this)) return undefined;
    place.owner ??= this;
    const stored = place.owner === this ? await super.load(id) : undefined;
    if (stored === undefined) return undefined;
    const entry = shifted(stored, -this.#times.offset);
    this.#times.remember(entry);
    return entry;
  }

  override update(entry: QueueEntry): Promise<void> {
    return super.update(shifted(this.#times.corrected(entry), this.#times.offset));
  }

  protected override summarize(entry: QueueEntry): QueueSummary {
    return super.summarize(shifted(entry, -this.#times.offset));
  }

  override async remove(id: string): Promise<void> {
    try {
      await super.remove(id);
    } finally {
      if (!this.stored.has(id)) this.store.places.delete(id);
    }
  }

  protected override checkChange({ kind, id }: QueueChange): void {
    if (!this.stored.has(id)) {
      // Another owner may have removed it.
      if (kind !== "add" && kind !== "remove") throw new NotHeldError(id);
      return;
    }
    if (this.store.places.get(id)?.owner !== this) throw new NotHeldError(id);
  }

  #takeFrom(other: SharedMemoryQueue): void {
    other.#unfollow();
    this.store.owners.delete(other);
    this.#free(other);
  }

  #free(gone: SharedMemoryQueue): void {
    for (const [id, place] of this.store.places) {
      if (place.owner !== gone) continue;
      this.store.places.set(id, { until: 0 });
      const stored = this.stored.get(id);
      for (const [index, { relayed }] of stored?.dots ?? []) {
        const recipient = stored?.entry.recipients[index];
        if (recipient === undefined || isFinal(recipient) || relayed) continue;
        stored?.dots.delete(index);
        this.store.unanswered.add(recipient.address);
        recipient.attemptCount++;
        recipient.nextAttemptAt = Math.max(recipient.nextAttemptAt, this.#now.now() + RESEND_AFTER);
      }
    }
  }

  #tellAll(): void {
    for (const owner of this.store.owners) queueMicrotask(() => owner.#look());
  }

  /** Claims what is free and due. */
  #look(): void {
    const follower = this.#follower;
    this.#timer?.cancel();
    if (follower === undefined || !this.store.owners.has(this)) return;
    const before = this.#now.monotonic() + HORIZON;
    let next = Infinity;
    for (const [id, place] of this.store.places) {
      const entry = this.stored.get(id)?.entry;
      if (place.owner !== undefined || entry === undefined) continue;
      if (place.until > before) next = Math.min(next, place.until);
      else if (follower.isOpen(id)) next = Math.min(next, before + LOOK_EVERY);
      else {
        place.owner = this;
        const summary = this.summarize(entry);
        const early = summary.due.every(({ at }) => at > this.#now.now() - this.#times.offset + HORIZON);
        follower.offer({ ...summary, ...(early && { unfinished: true }) });
      }
    }
    if (next < Infinity) this.#timer = this.#now.after(next - before, () => this.#look());
  }
}

function shifted<T extends Pick<QueueEntry, "recipients">>(entry: T, offset: number): T {
  if (offset === 0) return entry;
  const recipients = entry.recipients.map((recipient) => {
    const { nextAttemptAt } = recipient;
    return { ...recipient, nextAttemptAt: nextAttemptAt === 0 ? 0 : nextAttemptAt + offset };
  });
  return { ...entry, recipients };
}
