/**
 * Memory that many have to share.
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

  /** Whether there was room for so many octets more, which count as held then. */
  take(octets: number): boolean {
    if (this.#held + octets > this.#limit) return false;
    this.#held += octets;
    return true;
  }

  /** Gives back what was taken. */
  give(octets: number): void {
    this.#held -= octets;
  }
}
