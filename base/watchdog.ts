/**
 * A deadline that moves often and passes seldom.
 *
 * @module
 */
import type { Clock, Timer } from "./clock.ts";

// Milliseconds. A timer that fires so late says that this process did not run: it was stopped, or its machine was.
const LATE = 250;
// What came meanwhile is read in this time.
const CATCH_UP = 2_000;

/**
 * Calls back when its deadline passes. Moving the deadline costs no timer: all watchdogs of a clock share one, which
 * looks when it fires whether their deadlines have moved on meanwhile.
 *
 * Where this process was stopped (SIGSTOP, a frozen container, a paused virtual machine), what was waited for may have
 * come in that time. Timers fire before it is read; so deadlines that passed then have two more seconds.
 */
export class Watchdog {
  readonly #watch: Watch;
  readonly #expire: () => void;
  #deadline = Infinity;
  /** When the deadline is looked at next. */
  #wake = Infinity;

  /** There is no deadline until one is set. */
  constructor(clock: Clock, expire: () => void) {
    this.#watch = Watch.of(clock);
    this.#expire = expire;
  }

  /** In the clock's monotonic milliseconds; `Infinity` for never. */
  get deadline(): number {
    return this.#deadline;
  }

  set deadline(deadline: number) {
    this.#deadline = deadline;
    if (deadline >= this.#wake) return;
    this.#wake = deadline;
    this.#watch.add(this, deadline);
  }

  /** Forgets the deadline. */
  cancel(): void {
    this.#deadline = Infinity;
    if (this.#wake === Infinity) return;
    this.#wake = Infinity;
    this.#watch.remove(this);
  }

  /** @ignore When to look again; `Infinity` where there is no deadline, `undefined` where it has passed. */
  look(now: number): number | undefined {
    // Timers may fire a fraction early.
    if (this.#wake - now > 1) return this.#wake;
    if (this.#deadline - now <= 1) return undefined;
    return this.#wake = this.#deadline;
  }

  /** @ignore The deadline has passed. */
  expire(): void {
    this.cancel();
    this.#expire();
  }
}

/** The watchdogs of one clock that have a deadline, or had one a while ago. */
class Watch {
  static readonly #watches = new WeakMap<Clock, Watch>();
  readonly #clock: Clock;
  readonly #watchdogs = new Set<Watchdog>();
  #timer: Timer | undefined;
  /** When the timer fires. */
  #wake = Infinity;
  /** When it can fire at the earliest: a deadline may be in the past. */
  #due = Infinity;
  #catchingUp = false;

  private constructor(clock: Clock) {
    this.#clock = clock;
  }

  static of(clock: Clock): Watch {
    let watch = this.#watches.get(clock);
    if (watch === undefined) this.#watches.set(clock, watch = new Watch(clock));
    return watch;
  }

  add(watchdog: Watchdog, wake: number): void {
    this.#watchdogs.add(watchdog);
    if (wake < this.#wake && !this.#catchingUp) this.#sleep(wake);
  }

  remove(watchdog: Watchdog): void {
    this.#watchdogs.delete(watchdog);
    if (this.#watchdogs.size > 0) return;
    this.#catchingUp = false;
    this.#sleep(Infinity);
  }

  #sleep(wake: number): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#wake = wake;
    if (wake === Infinity) return;
    const now = this.#clock.monotonic();
    this.#due = Math.max(wake, now);
    this.#timer = this.#clock.after(this.#due - now, () => this.#look());
  }

  #look(): void {
    const now = this.#clock.monotonic();
    // Once in a row: a process that is late all the time must not wait for ever.
    this.#catchingUp = !this.#catchingUp && now - this.#due > LATE;
    if (this.#catchingUp) return this.#sleep(now + CATCH_UP);
    const due: Watchdog[] = [];
    let next = Infinity;
    for (const watchdog of this.#watchdogs) {
      const wake = watchdog.look(now);
      if (wake === undefined) due.push(watchdog);
      else if (wake === Infinity) this.#watchdogs.delete(watchdog);
      else next = Math.min(next, wake);
    }
    this.#sleep(next);
    // What one of them does may be the end of another.
    for (const watchdog of due) {
      const wake = watchdog.look(now);
      if (wake === undefined) watchdog.expire();
      else if (wake < Infinity) this.add(watchdog, wake);
      else this.remove(watchdog);
    }
  }
}
