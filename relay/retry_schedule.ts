/**
 * When a message that could not be handed over is tried again, and when that ends (RFC 5321 §4.5.4.1).
 *
 * @module
 */

/** How often and how long a message is tried; the defaults are in config/schema.ts. */
export interface RetrySchedule {
  /** Waits between attempts, milliseconds; at least one, the last one repeats. */
  readonly delays: readonly number[];
  /** Age at which a failed attempt is the last one, milliseconds. */
  readonly expireAfter: number;
  /** Age at which the sender is told that it takes longer, milliseconds. */
  readonly delayNoticeAfter: number;
}

// A tenth spreads what failed together, such as everything for a host that was down, over a window worth having.
const JITTER = 0.1;

/**
 * The wait after this many attempts, in whole milliseconds: as the schedule says, or up to a tenth longer; never shorter.
 * @param attempts How many were made, at least 1.
 * @param random Draws from [0, 1).
 */
export function retryDelay(attempts: number, { delays }: RetrySchedule, random: () => number): number {
  const delay = delays[Math.min(Math.max(attempts, 1), delays.length) - 1] ?? 0;
  return Math.ceil(delay * (1 + JITTER * random()));
}

/** The longest wait that {@linkcode retryDelay} can return. */
export function longestDelay({ delays }: RetrySchedule): number {
  return Math.ceil(Math.max(...delays) * (1 + JITTER));
}
