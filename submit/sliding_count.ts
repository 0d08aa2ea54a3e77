/**
 * How much there was of something within the last hour or day.
 *
 * @module
 */

/** Counts over a window that moves on in steps, a twenty-fourth of it each. */
export class SlidingCount {
  readonly #step: number;
  /** By number of the step since the epoch, ascending. */
  #steps: [step: number, count: number][];

  /**
   * @param span the window, in milliseconds
   * @param steps as {@linkcode SlidingCount.toJSON} gave them; what is not of that form is left out
   */
  constructor(span: number, steps: unknown = []) {
    this.#step = span / STEPS;
    this.#steps = Array.isArray(steps) ? steps.filter(isStep).slice(-STEPS) : [];
  }

  /** Counts this many more. */
  add(now: number, count = 1): void {
    this.#prune(now);
    const step = Math.floor(now / this.#step);
    const last = this.#steps.at(-1);
    if (last?.[0] === step) last[1] += count;
    else this.#steps.push([step, count]);
  }

  /** How many there were in the window that ends now. */
  total(now: number): number {
    this.#prune(now);
    return this.#steps.reduce((sum, [, count]) => sum + count, 0);
  }

  /** When the window will hold no more than this many, in milliseconds since the epoch. */
  below(now: number, limit: number): number {
    let total = this.total(now);
    for (const [step, count] of this.#steps) {
      if (total <= limit) break;
      total -= count;
      if (total <= limit) return (step + STEPS) * this.#step;
    }
    return now;
  }

  /** The steps, for the constructor. */
  toJSON(): unknown {
    return this.#steps;
  }

  /** Drops what is over, and what is in the future because the clock was set back. */
  #prune(now: number): void {
    const step = Math.floor(now / this.#step);
    if (this.#steps.every(([at]) => at > step - STEPS && at <= step)) return;
    this.#steps = this.#steps.filter(([at]) => at > step - STEPS && at <= step);
  }
}

/** Of a window. */
const STEPS = 24;

function isStep(value: unknown): value is [number, number] {
  return Array.isArray(value) && value.length === 2 &&
    value.every((one) => Number.isSafeInteger(one) && one >= 0);
}
