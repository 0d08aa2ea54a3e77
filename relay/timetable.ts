/**
 * Lets things wait for their time, with one timer for all of them.
 *
 * @module
 */
import type { Clock, Timer } from "../base/clock.ts";
import { type Due, DueHeap } from "./due_heap.ts";

const LONGEST_SLEEP = 3_600_000;

/** Holds items until they are due; `dueAt` is in monotonic time. */
export class Timetable<T extends Due> {
  readonly #clock: Clock;
  readonly #due: (item: T) => void;
  readonly #waiting = new DueHeap<T>();
  #timer: Timer | undefined;
  #stopped = false;

  /** `due` takes each item when its time has come. */
  constructor(clock: Clock, due: (item: T) => void) {
    this.#clock = clock;
    this.#due = due;
  }

  /** How many wait. */
  get size(): number {
    return this.#waiting.size;
  }

  /** All that wait, in no order. */
  values(): IterableIterator<T> {
    return this.#waiting.values();
  }

  /** Lets an item wait; what is due already is handed on before this returns. */
  add(item: T): void {
    if (item.dueAt <= this.#clock.monotonic()) return this.#due(item);
    this.#waiting.push(item);
    if (this.#waiting.peek() === item) this.#sleep();
  }

  /** Drops those for which `isKept` is false; looks at all. */
  retain(isKept: (item: T) => boolean): void {
    this.#waiting.retain(isKept);
  }

  /** Wakes up no more. */
  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  #sleep(): void {
    this.#timer?.cancel();
    const next = this.#waiting.peek();
    if (next === undefined || this.#stopped) return;
    const wait = Math.min(next.dueAt - this.#clock.monotonic(), LONGEST_SLEEP);
    this.#timer = this.#clock.after(wait, () => this.#wake());
  }

  #wake(): void {
    const now = this.#clock.monotonic();
    for (
      let item = this.#waiting.peek();
      item !== undefined && item.dueAt <= now;
      item = this.#waiting.peek()
    ) {
      this.#waiting.pop();
      this.#due(item);
    }
    this.#sleep();
  }
}
