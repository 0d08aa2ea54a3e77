/**
 * A counting semaphore.
 *
 * @module
 */

interface Waiter {
  readonly count: number;
  readonly go: () => void;
}

/** A fixed number of slots, such as descriptors, given out in order of asking. */
export class Slots {
  readonly #total: number;
  #free: number;
  readonly #waiting: Waiter[] = [];

  /** `total` is the number of slots, at least 1. */
  constructor(total: number) {
    this.#total = total;
    this.#free = total;
  }

  /** How many are free. */
  get free(): number {
    return this.#free;
  }

  /** Waits for `count` of them, at most all there are; disposing the result gives them back. */
  async take(count: number): Promise<Disposable> {
    if (count > this.#total) throw new RangeError(`${count} of ${this.#total} slots`);
    if (this.#waiting.length === 0 && count <= this.#free) this.#free -= count;
    else await new Promise<void>((go) => this.#waiting.push({ count, go }));
    let taken = count;
    return {
      [Symbol.dispose]: () => {
        this.#free += taken;
        taken = 0;
        this.#wake();
      },
    };
  }

  #wake(): void {
    for (;;) {
      const [first] = this.#waiting;
      if (first === undefined || first.count > this.#free) return;
      this.#waiting.shift();
      this.#free -= first.count;
      first.go();
    }
  }
}
