/**
 * Statements for several entries at once. What comes while one is under way goes into the next, so that under load a
 * round trip, a transaction and a wait for the disk serve many messages. A message that comes alone waits for nothing.
 *
 * @module
 */
import { DatabaseError } from "./database.ts";

/** How a {@linkcode Batches} works. */
export interface BatchesOptions<Item, Result> {
  /**
   * Runs one statement, in a transaction of its own; the results in the order of the items.
   * @throws {DatabaseError} for a reason that does not lie in an item
   */
  readonly run: (items: readonly Item[]) => Promise<readonly Result[]>;
  /** Octets of an item in the statement; default 0. */
  readonly octets?: (item: Item) => number;
}

interface Waiting<Item, Result> {
  readonly item: Item;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
}

/** Bounds of a statement; a larger item goes alone. */
const MOST = { items: 100, octets: 1024 * 1024 };
/** Locked items that are waited for one after the other; where there are more, the whole table may be locked. */
export const MOST_LOCKED = 5;

/** Runs items in batches. */
export class Batches<Item, Result> {
  readonly #options: BatchesOptions<Item, Result>;
  #waiting: Waiting<Item, Result>[] = [];
  #running = false;

  /** With nothing to run. */
  constructor(options: BatchesOptions<Item, Result>) {
    this.#options = options;
  }

  /**
   * Runs an item, with others if there are any.
   * @throws what its statement throws; an error that lies in one item concerns only that one
   */
  run(item: Item): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      if (!this.#running) void this.#work();
    });
  }

  async #work(): Promise<void> {
    this.#running = true;
    while (this.#waiting.length > 0) await this.#runTogether(this.#next());
    this.#running = false;
  }

  #next(): Waiting<Item, Result>[] {
    const { octets = () => 0 } = this.#options;
    let sum = 0;
    let count = 0;
    for (const { item } of this.#waiting) {
      sum += octets(item);
      if (count > 0 && (count >= MOST.items || sum > MOST.octets)) break;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  /** Runs them in one statement. @returns what it has thrown */
  async #runTogether(batch: readonly Waiting<Item, Result>[]): Promise<unknown> {
    try {
      const results = await this.#options.run(batch.map(({ item }) => item));
      for (const [index, { resolve }] of batch.entries()) resolve(results[index] as Result);
      return undefined;
    } catch (error) {
      // It has had no effect. One of them may be what it could not take, or is locked: each is tried alone.
      if (batch.length > 1 && !(error instanceof DatabaseError && !error.isLocked)) {
        await this.#runEach(batch);
      } else for (const { reject } of batch) reject(error);
      return error;
    }
  }

  /** Runs each alone, until the database is away or too many are locked: that concerns the others, too. */
  async #runEach(batch: readonly Waiting<Item, Result>[]): Promise<void> {
    let locked = 0;
    for (const [index, one] of batch.entries()) {
      const error = await this.#runTogether([one]);
      if (!(error instanceof DatabaseError) || (error.isLocked && ++locked < MOST_LOCKED)) continue;
      for (const { reject } of batch.slice(index + 1)) reject(error);
      return;
    }
  }
}
