/**
 * What may be said once in a while of each thing, where strangers could have it said without end.
 *
 * @module
 */
import type { Clock } from "./clock.ts";

/** Milliseconds. */
const MINUTE = 60_000;
const MAX_REMEMBERED = 1000;

/** Remembers of a thousand things, at most, when something was said of them last. */
export class Seldom {
  readonly #clock: Pick<Clock, "monotonic">;
  readonly #interval: number;
  /** Oldest first. */
  readonly #saidAt = new Map<string, number>();

  /** `interval` in milliseconds, default a minute. */
  constructor(clock: Pick<Clock, "monotonic">, interval = MINUTE) {
    this.#clock = clock;
    this.#interval = interval;
  }

  /** Whether it is time to say something of this once more; then it counts as said. */
  isDue(about: string): boolean {
    const now = this.#clock.monotonic();
    const before = this.#saidAt.get(about);
    if (before !== undefined && now - before < this.#interval) return false;
    this.#saidAt.delete(about);
    this.#saidAt.set(about, now);
    const [oldest] = this.#saidAt.keys();
    if (oldest !== undefined && this.#saidAt.size > MAX_REMEMBERED) this.#saidAt.delete(oldest);
    return true;
  }
}
