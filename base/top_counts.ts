/**
 * Counts by name, in bounded memory, of names that others choose.
 *
 * @module
 */

/** A name, and how often it was counted. */
export interface Count {
  readonly name: string;
  readonly count: number;
}

/** Names kept; when there are twice as many, the rarer half is counted together. */
const KEPT = 2_000;
/** Longest name, in characters. */
const MAX_NAME = 320;

/** Counts; the frequent names are exact, unless they were rare at first among thousands of others. */
export class TopCounts {
  readonly #counts = new Map<string, number>();
  #others = 0;

  /** All of these together. */
  static sum(all: readonly TopCounts[]): TopCounts {
    const sum = new TopCounts();
    for (const one of all) {
      for (const [name, count] of one.#counts) sum.add(name, count);
      sum.#others += one.#others;
    }
    return sum;
  }

  /** Counts a name; the empty one is none. */
  add(name: string, count = 1): void {
    if (name === "") return;
    const key = name.slice(0, MAX_NAME);
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + count);
    if (this.#counts.size <= 2 * KEPT) return;
    for (const { name, count } of this.#sorted().slice(KEPT)) {
      this.#counts.delete(name);
      this.#others += count;
    }
  }

  /** The most frequent ones. */
  top(limit: number): Count[] {
    return this.#sorted().slice(0, limit);
  }

  /** What is counted without a name. */
  get others(): number {
    return this.#others;
  }

  #sorted(): Count[] {
    return Array.from(this.#counts, ([name, count]) => ({ name, count }))
      .sort((one, other) => other.count - one.count || (one.name < other.name ? -1 : 1));
  }
}
