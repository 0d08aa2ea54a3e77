/**
 * Work on one thing after the other, on different things at once.
 *
 * @module
 */

/** Runs work for a key after all earlier work for it, failed or not. */
export class SerialByKey {
  readonly #last = new Map<string, Promise<void>>();

  /** Runs the work; without earlier work for the key it starts at once. */
  run(key: string, work: () => Promise<void>): Promise<void> {
    const previous = this.#last.get(key);
    const current = previous === undefined ? work() : previous.then(work, work);
    const settled: Promise<void> = current.catch(() => {}).then(() => {
      if (this.#last.get(key) === settled) this.#last.delete(key);
    });
    this.#last.set(key, settled);
    return current;
  }

  /** Resolves when nothing runs or waits, also of what was begun meanwhile. */
  async idle(): Promise<void> {
    while (this.#last.size > 0) await Promise.allSettled(this.#last.values());
  }
}
