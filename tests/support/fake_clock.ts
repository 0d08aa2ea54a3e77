/**
 * A clock that stands still until a test moves it.
 *
 * @module
 */
import type { Clock, Timer } from "../../base/clock.ts";

interface FakeTimer extends Timer {
  readonly at: number;
  readonly order: number;
  readonly callback: () => void;
}

/**
 * A {@linkcode Clock} under a test's control. Timers fire in the order of their time, then of their making.
 *
 * @example
 * ```ts
 * import { FakeClock } from "./fake_clock.ts";
 *
 * const clock = new FakeClock();
 * let fired = false;
 * clock.after(1000, () => fired = true);
 * await clock.advance(1000); // fired is true now
 * ```
 */
export class FakeClock implements Clock {
  #wall: number;
  #elapsed = 0;
  #made = 0;
  readonly #timers = new Set<FakeTimer>();
  readonly #settle: () => Promise<void>;
  /** Called when time has passed, before what is due then. */
  moved: (() => Promise<void>) | undefined;

  /**
   * @param start The time it shows at first, milliseconds since the epoch
   * @param options `settle`: lets run what was woken; default: {@linkcode settle}
   */
  constructor(
    start: number = Date.UTC(2026, 0, 1),
    { settle: lets = settle }: { readonly settle?: () => Promise<void> } = {},
  ) {
    this.#wall = start;
    this.#settle = lets;
  }

  /** How many timers wait. */
  get pending(): number {
    return this.#timers.size;
  }

  now(): number {
    return this.#wall;
  }

  monotonic(): number {
    return this.#elapsed;
  }

  after(ms: number, callback: () => void): Timer {
    const timer: FakeTimer = {
      at: this.#elapsed + Math.max(ms, 0),
      order: this.#made++,
      callback,
      cancel: () => void this.#timers.delete(timer),
    };
    this.#timers.add(timer);
    return timer;
  }

  /** Sets the clock forward or back, as an operator or NTP does; no timer notices. */
  jump(ms: number): void {
    this.#wall += ms;
  }

  /**
   * Lets time pass: fires what becomes due, and lets the code that it woke run as far as it can before time goes on.
   * @param ms How long, in milliseconds; 0 fires what is due now.
   */
  async advance(ms: number): Promise<void> {
    const end = this.#elapsed + ms;
    await this.#settle();
    for (let next = this.#next(end); next !== undefined; next = this.#next(end)) {
      this.#pass(next.at);
      this.#timers.delete(next);
      if (this.moved !== undefined) await this.moved();
      next.callback();
      await this.#settle();
    }
    this.#pass(end);
    if (this.moved !== undefined) await this.moved();
  }

  #pass(to: number): void {
    if (to <= this.#elapsed) return;
    this.#wall += to - this.#elapsed;
    this.#elapsed = to;
  }

  #next(end: number): FakeTimer | undefined {
    let first: FakeTimer | undefined;
    for (const timer of this.#timers) {
      if (timer.at > end) continue;
      if (
        first === undefined || timer.at < first.at || (timer.at === first.at && timer.order < first.order)
      ) {
        first = timer;
      }
    }
    return first;
  }
}

/** Lets everything run that only waits for promises. */
export async function settle(): Promise<void> {
  // A turn of the event loop begins only when no microtask is left; a few cover code that itself waits a turn.
  for (let turn = 0; turn < 3; turn++) await new Promise<void>((resolve) => setTimeout(resolve, 0));
}
