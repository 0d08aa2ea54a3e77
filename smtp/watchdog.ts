/**
 * A deadline that moves often and passes seldom.
 *
 * @module
 */
import type { Clock, Timer } from "./clock.ts";

/**
 * Calls back when its deadline passes. Moving the deadline costs no timer: there is one, which looks when it fires
 * whether the deadline has moved on meanwhile and then sleeps again.
 */
export class Watchdog {
  readonly #clock: Clock;
  readonly #expire: () => void;
  #deadline = Infinity;
  #timer: Timer | undefined;
  /** When the timer fires. */
  #wake = Infinity;

  /** There is no deadline until one is set. */
  constructor(clock: Clock, expire: () => void) {
    this.#clock = clock;
    this.#expire = expire;
  }

  /** In the clock's monotonic milliseconds; `Infinity` for never. */
  get deadline(): number {
    return this.#deadline;
  }

  set deadline(deadline: number) {
    this.#deadline = deadline;
    if (deadline < this.#wake) this.#sleep(deadline - this.#clock.monotonic());
  }

  /** Stops the timer and forgets the deadline. */
  cancel(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#wake = Infinity;
    this.#deadline = Infinity;
  }

  #sleep(milliseconds: number): void {
    this.#timer?.cancel();
    const wait = Math.max(milliseconds, 0);
    this.#wake = this.#clock.monotonic() + wait;
    this.#timer = this.#clock.after(wait, () => this.#awake());
  }

  #awake(): void {
    this.#timer = undefined;
    this.#wake = Infinity;
    if (this.#deadline === Infinity) return;
    const left = this.#deadline - this.#clock.monotonic();
    // Timers may fire a fraction early.
    if (left > 1) return this.#sleep(left);
    this.cancel();
    this.#expire();
  }
}
