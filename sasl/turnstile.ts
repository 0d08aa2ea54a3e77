/**
 * A line in which those who have failed least go first.
 *
 * @module
 */

interface Waiter {
  readonly rank: number;
  readonly go: (entered: boolean) => void;
}

/** Lets a few in at a time; a bounded number waits, by rank, then by arrival. */
export class Turnstile {
  readonly #atOnce: number;
  readonly #maxWaiting: number;
  readonly #waiting: Waiter[] = [];
  #inside = 0;

  /** Both at least 1. */
  constructor({ atOnce, maxWaiting }: { readonly atOnce: number; readonly maxWaiting: number }) {
    this.#atOnce = atOnce;
    this.#maxWaiting = maxWaiting;
  }

  /** Whether it is free and no one waits. */
  get idle(): boolean {
    return this.#inside === 0 && this.#waiting.length === 0;
  }

  /** Whether whoever comes has to wait. */
  get full(): boolean {
    return this.#inside >= this.#atOnce;
  }

  /**
   * Waits for a turn, which ends when the result is disposed.
   * @returns `undefined` when the line is full of others whose rank is no higher, or became so
   */
  async enter(rank: number): Promise<Disposable | undefined> {
    if (this.full) {
      const { promise, resolve } = Promise.withResolvers<boolean>();
      // The line is in order of rank, and within a rank in order of arrival.
      let at = this.#waiting.length;
      while (at > 0 && (this.#waiting[at - 1]?.rank ?? 0) > rank) at--;
      this.#waiting.splice(at, 0, { rank, go: resolve });
      if (this.#waiting.length > this.#maxWaiting) this.#waiting.pop()?.go(false);
      if (!await promise) return undefined;
    } else {
      this.#inside++;
    }
    let over = false;
    return {
      [Symbol.dispose]: () => {
        if (over) return;
        over = true;
        // Whoever waits longest takes the place over.
        const next = this.#waiting.shift();
        if (next === undefined) this.#inside--;
        else next.go(true);
      },
    };
  }
}
