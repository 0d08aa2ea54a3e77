/**
 * Waiting with a bound: for a number of turns, and then a failure that says what did not come.
 *
 * @module
 */
import assert from "node:assert/strict";

// At least ten seconds: far more than anything takes that comes at all.
const TURNS = 10_000;

/**
 * Waits until it holds.
 * @param what named in the failure
 * @param step what each turn does, such as to let time pass on a clock of the test; default: it waits a millisecond
 */
export async function until(
  holds: () => boolean | Promise<boolean>,
  what: string,
  step: () => Promise<unknown> = () => new Promise((resolve) => setTimeout(resolve, 1)),
): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) {
    if (await holds()) return;
    await step();
  }
  assert.fail(`waited in vain for ${what}`);
}
