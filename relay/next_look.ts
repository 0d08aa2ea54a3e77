/**
 * When an entry that nobody holds is next to be looked at.
 *
 * @module
 */
import { isFinal, type QueueEntry } from "./queue_entry.ts";
import { longestDelay, retryDelay, type RetrySchedule } from "./retry_schedule.ts";
import { hasUndeliverable } from "./undeliverable.ts";

/** What {@linkcode untilNextLook} goes by. */
export interface LookOptions {
  /** Milliseconds since the entry was accepted. */
  readonly age: number;
  /** Milliseconds since the epoch. */
  readonly now: number;
  readonly schedule: RetrySchedule;
  /** How long an entry is held that has no sender to be told, in milliseconds. */
  readonly keepFor: number;
}

/** Milliseconds until something of the entry is due: an attempt, a notice, or its end. Infinity where nothing is left. */
export function untilNextLook(entry: QueueEntry, { age, now, schedule, keepFor }: LookOptions): number {
  let wait = Infinity;
  let untold = false;
  for (const recipient of entry.recipients) {
    const { status, nextAttemptAt, delayNotified, settled } = recipient;
    // What could not be finished, such as a notice, is to be tried again.
    if (isFinal(recipient) && !settled) wait = Math.min(wait, retryDelay(1, schedule, () => 0));
    if (status !== "pending") continue;
    // A time beyond the longest wait was written under another clock.
    wait = Math.min(wait, nextAttemptAt - now, longestDelay(schedule));
    untold ||= !delayNotified;
  }
  if (untold && age < schedule.delayNoticeAfter) wait = Math.min(wait, schedule.delayNoticeAfter - age);
  if (hasUndeliverable(entry)) wait = Math.min(wait, keepFor - age);
  return wait;
}
