/**
 * Time as a dependency, so that no test waits for it.
 *
 * @module
 */

/** A timer that can be cancelled. */
export interface Timer {
  /** Stops it; safe after it fired. */
  cancel(): void;
}

/** Tells the time and sets timers. */
export interface Clock {
  /** Milliseconds since the Unix epoch; may jump, as the system's clock does. */
  now(): number;
  /** Milliseconds since some fixed moment; never jumps. Deadlines are in this time. */
  monotonic(): number;
  /** Calls back once, after `ms` milliseconds that no clock change shortens or lengthens. */
  after(ms: number, callback: () => void): Timer;
}

// setTimeout takes 32 bits; a longer wait would fire at once.
const MAX_DELAY = 2 ** 31 - 1;

/** The system's clock. Timers do not keep the process alive. */
export const systemClock: Clock = {
  now: Date.now,
  monotonic: () => performance.now(),
  after(ms, callback) {
    const timer = setTimeout(callback, Math.min(Math.max(ms, 0), MAX_DELAY));
    Deno.unrefTimer(timer);
    return { cancel: () => clearTimeout(timer) };
  },
};
