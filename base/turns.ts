/**
 * Fairness among connections: the runtime gives out what is at hand, bytes to read or room to write, without a turn of
 * the event loop. A client that sends on without a pause would hold up all others, and its own deadlines.
 *
 * @module
 */

/** Counts the work of one flow of execution, and makes it wait for its next turn every so often. */
export class Turns {
  readonly #budget: number;
  #spent = 0;

  /** Starts at nought; when so much has been spent it is the turn of others. */
  constructor(budget: number) {
    this.#budget = budget;
  }

  /** Spends some; mostly returns nothing, else resolves when the others have had their turn. */
  spend(cost: number): Promise<void> | void {
    this.#spent += cost;
    if (this.#spent < this.#budget) return;
    this.#spent = 0;
    // Not setImmediate(): in Deno 2.9 a loop of these lets timers pass, and hardly any I/O.
    return new Promise((resolve) => void setTimeout(resolve, 0));
  }
}
