/**
 * Long work in the main thread, in slices.
 *
 * @module
 */

// Reading a million small files in other threads takes minutes; here it takes seconds, in slices that leave the event
// loop its turn.
const SLICE_MS = 10;
// The clock is looked at when so often was asked: a look costs as much as what lies between two of them may.
const ASKS_A_LOOK = 16;

/** The slice that a long piece of work is in; tells when the event loop should have its turn. */
export class TimeSlice {
  #began = performance.now();
  #asked = 0;

  /**
   * Whether this slice has lasted long enough. To be asked before each small step; `surely` behind a larger one.
   */
  isOver({ surely = false } = {}): boolean {
    return (surely || ++this.#asked % ASKS_A_LOOK === 0) && performance.now() - this.#began > SLICE_MS;
  }

  /** Gives the event loop its turn, and begins the next slice. */
  async pause(): Promise<void> {
    // Not setImmediate(): between two of those Deno hands out hardly anything that came from the network.
    await new Promise<void>((resolve) => setTimeout(resolve, 0));
    this.#began = performance.now();
  }
}
