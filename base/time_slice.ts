/**
 * Long work on the main thread, in time slices.
 *
 * @module
 */

// Reading a million small files in other threads takes minutes; here it takes seconds, in slices that leave the event
// loop its turn.
const SLICE_MS = 10;
// How many calls share one look at the clock, which costs as much as the work between them.
const CALLS_PER_CHECK = 16;

/** The current slice of a long piece of work; tells when to yield to the event loop. */
export class TimeSlice {
  #began = performance.now();
  #asked = 0;

  /**
   * Whether this slice has lasted long enough. Ask before each small step; with `surely` after a larger one.
   */
  isOver({ surely = false } = {}): boolean {
    return (surely || ++this.#asked % CALLS_PER_CHECK === 0) && performance.now() - this.#began > SLICE_MS;
  }

  /** Yields to the event loop, and begins the next slice. */
  async pause(): Promise<void> {
    // Not setImmediate(): between two of those Deno delivers hardly any network input.
    await new Promise<void>((resolve) => setTimeout(resolve, 0));
    this.#began = performance.now();
  }
}
