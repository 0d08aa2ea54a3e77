/**
 * A bound on memory that several users share.
 *
 * @module
 */

/** Counts what is held, up to a limit. */
export class MemoryBudget {
  readonly #limit: number;
  #held = 0;

  /** `limit` in octets, for all together. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Octets held at present. */
  get held(): number {
    return this.#held;
  }

  /** Takes `octets` if they fit within the limit; whether it did. */
  take(octets: number): boolean {
    if (this.#held + octets > this.#limit) return false;
    this.#held += octets;
    return true;
  }

  /** Returns octets that were taken. */
  give(octets: number): void {
    this.#held -= octets;
  }
}
