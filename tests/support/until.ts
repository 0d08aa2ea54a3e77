/**
 * Waiting for what comes in its own time: a bounded number of turns, and then a failure that says what did not come.
 *
 * @module
 */
import assert from "node:assert/strict";

// Ten seconds and more of turns: far beyond what anything takes that comes at all.
const TURNS = 10_000;

/** Waits until it holds. */
export async function until(holds: () => boolean, what: string): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) {
    if (holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  assert.fail(`it never came to pass: ${what}`);
}
