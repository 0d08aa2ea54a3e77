/**
 * A table of what happened lately, in bounded memory.
 *
 * @module
 */

/** The entries that were set last; beyond the bound the one that was set longest ago is forgotten. */
export class RecentMap<T> {
  readonly #entries = new Map<string, T>();
  readonly #max: number;
  /** Goes along from the oldest on; to begin at the front each time would pass what is gone again and again. */
  #oldest: Iterator<string>;

  /** @param max How many, at least 1. */
  constructor(max: number) {
    this.#max = max;
    this.#oldest = this.#entries.keys();
  }

  /** How many there are. */
  get size(): number {
    return this.#entries.size;
  }

  /** The entry, if it is held. */
  get(key: string): T | undefined {
    return this.#entries.get(key);
  }

  /** Sets an entry, which is the latest then. */
  set(key: string, value: T): void {
    this.#entries.delete(key);
    if (this.#entries.size >= this.#max) this.#forgetOldest();
    this.#entries.set(key, value);
  }

  /** Forgets an entry. */
  delete(key: string): void {
    this.#entries.delete(key);
  }

  #forgetOldest(): void {
    let next = this.#oldest.next();
    if (next.done) {
      this.#oldest = this.#entries.keys();
      next = this.#oldest.next();
    }
    if (!next.done) this.#entries.delete(next.value);
  }
}
