/**
 * Messages without a sender that could not be delivered, such as notices of failure (RFC 5321 §6.1). There is no one
 * to tell, so they are held for the operator: for a time, and up to a number.
 *
 * @module
 */
import type { Clock, Timer } from "../base/clock.ts";
import type { QueueEntry, QueueRecipient } from "./queue_entry.ts";

/** How much is held. */
export interface UndeliverableLimits {
  /** Messages that are this old are dropped, in milliseconds. */
  readonly keepFor: number;
  /** Messages at most; the oldest ones beyond are dropped. */
  readonly most: number;
}

/** Where the configuration says nothing: 30 days, 1,000 messages. */
export const UNDELIVERABLE_LIMITS: UndeliverableLimits = { keepFor: 30 * 86_400_000, most: 1000 };

/** Why a message is dropped. */
export type DropReason = "too old" | "too many";

/** What there is, and what came and went within the last day. */
export interface UndeliverableStatus {
  /** Messages that are held. */
  readonly held: number;
  /** Messages held since a day ago, whatever became of them. */
  readonly recentlyHeld: number;
  /** Messages dropped since a day ago. */
  readonly recentlyDropped: number;
}

/** What a {@linkcode Undeliverable} needs. */
export interface UndeliverableOptions {
  /** Measures time. */
  readonly clock: Clock;
  /** How much is held. */
  readonly limits: UndeliverableLimits;
  /** Drops a message; never throws. It is not counted any more. */
  readonly drop: (id: string, reason: DropReason) => void;
}

const HOUR = 3_600_000;
const RECENT_HOURS = 24;

/** Whether a recipient is held since there is no one to notify of the failure, and not by the operator. */
export function isUndeliverable({ status, settled }: Pick<QueueRecipient, "status" | "settled">): boolean {
  return status === "held" && settled;
}

/** Whether an entry has such a recipient. */
export function hasUndeliverable({ reversePath, recipients }: QueueEntry): boolean {
  return reversePath === "" && recipients.some(isUndeliverable);
}

/** Keeps account of them. What is in memory is some octets for each, and {@linkcode UndeliverableLimits.most} at most. */
export class Undeliverable {
  readonly #clock: Clock;
  readonly #drop: UndeliverableOptions["drop"];
  #limits: UndeliverableLimits;
  /** When each was accepted, in monotonic time. */
  readonly #born = new Map<string, number>();
  readonly #held = new RecentCount();
  readonly #dropped = new RecentCount();
  #timer: Timer | undefined;
  /** When that goes off, in monotonic time. */
  #wakeAt = Infinity;
  #stopped = false;

  /** Starts empty. */
  constructor({ clock, limits, drop }: UndeliverableOptions) {
    this.#clock = clock;
    this.#limits = limits;
    this.#drop = drop;
  }

  /** What there is. */
  get status(): UndeliverableStatus {
    const hour = this.#hour();
    return {
      held: this.#born.size,
      recentlyHeld: this.#held.at(hour),
      recentlyDropped: this.#dropped.at(hour),
    };
  }

  /** How much is held. */
  get limits(): UndeliverableLimits {
    return this.#limits;
  }

  /** Replaces the limits. */
  set limits(limits: UndeliverableLimits) {
    this.#limits = limits;
    this.#dropExpired();
    this.#dropSurplus();
  }

  /**
   * Notes an entry that is held.
   * @param options `age` in milliseconds; `recalled`: it was held before this process began
   */
  note(id: string, { age, recalled = false }: { readonly age: number; readonly recalled?: boolean }): void {
    if (this.#stopped || this.#born.has(id)) return;
    const born = this.#clock.monotonic() - age;
    this.#born.set(id, born);
    if (!recalled) this.#held.add(this.#hour());
    this.#dropSurplus();
    if (this.#born.has(id) && born + this.#limits.keepFor < this.#wakeAt) this.#wake(born);
  }

  /** Notes that an entry is not held any more. */
  forget(id: string): void {
    this.#born.delete(id);
  }

  /** Drops nothing more. */
  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  #hour(): number {
    return Math.floor(this.#clock.monotonic() / HOUR);
  }

  #dropExpired(): void {
    if (this.#stopped) return;
    const bornBefore = this.#clock.monotonic() - this.#limits.keepFor;
    let next = Infinity;
    for (const [id, born] of this.#born) {
      if (born <= bornBefore) this.#dropNow(id, "too old");
      else next = Math.min(next, born);
    }
    this.#wake(next);
  }

  /** Sees to it that one that was accepted then is dropped when its time is over. */
  #wake(born: number): void {
    this.#timer?.cancel();
    this.#wakeAt = born + this.#limits.keepFor;
    if (this.#wakeAt === Infinity) return;
    this.#timer = this.#clock.after(this.#wakeAt - this.#clock.monotonic(), () => this.#dropExpired());
  }

  #dropSurplus(): void {
    while (!this.#stopped && this.#born.size > this.#limits.most) {
      let oldest: string | undefined;
      let least = Infinity;
      for (const [id, born] of this.#born) if (born < least) [oldest, least] = [id, born];
      if (oldest === undefined) return;
      this.#dropNow(oldest, "too many");
    }
  }

  #dropNow(id: string, reason: DropReason): void {
    this.#born.delete(id);
    this.#dropped.add(this.#hour());
    this.#drop(id, reason);
  }
}

/** Counts by the hour, for a day. */
class RecentCount {
  readonly #hours = new Map<number, number>();

  add(hour: number): void {
    this.#hours.set(hour, (this.#hours.get(hour) ?? 0) + 1);
    for (const old of this.#hours.keys()) if (old <= hour - RECENT_HOURS) this.#hours.delete(old);
  }

  at(hour: number): number {
    let sum = 0;
    for (const [when, count] of this.#hours) if (when > hour - RECENT_HOURS) sum += count;
    return sum;
  }
}
