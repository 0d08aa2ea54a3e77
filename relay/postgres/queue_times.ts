/**
 * Times of entries: in the tables they are the database's, so that hosts whose clocks are apart agree on when an entry
 * is due; in this process they are those of its own clock. Either clock may be set at any time.
 *
 * @module
 */
import type { Clock } from "../../base/clock.ts";
import type { QueueEntry } from "../queue_entry.ts";

// Milliseconds. Times that are compared are to be shifted alike, so that what is unchanged is not written again.
const TOLERANCE = 1_000;
/** A time of an attempt that is farther from now than this, in milliseconds, was set before the clock was. */
const PLAUSIBLE = 6 * 3_600_000;

/** How much the clocks of this host and of the database differ, and how much they did when an entry was read. */
export class QueueTimes {
  readonly #clock: Clock;
  readonly #now: () => number;
  readonly #read = new WeakMap<
    QueueEntry,
    { readonly offset: number; readonly times: readonly number[] }
  >();
  #offset: number | undefined;

  /** @param now Milliseconds since the epoch by the database's clock */
  constructor(clock: Clock, now: () => number) {
    this.#clock = clock;
    this.#now = now;
  }

  /** Milliseconds to add to a time of this host. It stays the same until a clock is set. */
  get offset(): number {
    const offset = this.#now() - this.#clock.now();
    if (this.#offset === undefined || Math.abs(offset - this.#offset) >= TOLERANCE) this.#offset = offset;
    return this.#offset;
  }

  /** Remembers the times of an entry that was just read. */
  remember(entry: QueueEntry): void {
    const times = entry.recipients.map(({ nextAttemptAt }) => nextAttemptAt);
    this.#read.set(entry, { offset: this.offset, times });
  }

  /**
   * An entry whose times can all be shifted by {@linkcode QueueTimes.offset}: if a clock was set since it was read, those
   * that have not been changed since are corrected.
   */
  corrected(entry: QueueEntry): QueueEntry {
    const read = this.#read.get(entry);
    const difference = read === undefined ? 0 : read.offset - this.offset;
    if (difference === 0) return entry;
    return {
      ...entry,
      recipients: entry.recipients.map((recipient, index) => {
        const { nextAttemptAt } = recipient;
        if (nextAttemptAt === 0) return recipient;
        const shifted = Math.max(1, nextAttemptAt + difference);
        const [far, near] = [nextAttemptAt, shifted].map((time) => Math.abs(time - this.#clock.now())) as [
          number,
          number,
        ];
        const isOld = nextAttemptAt === read?.times[index] || (far > PLAUSIBLE && near < far);
        return isOld ? { ...recipient, nextAttemptAt: shifted } : recipient;
      }),
    };
  }
}
