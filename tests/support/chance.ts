/**
 * Chance for tests, from one seed, so that each run draws the same. `MAILAPP_SEED=N deno test …` draws other numbers.
 *
 * @module
 */

/** The seed, a 32-bit integer. */
export const SEED = Number(Deno.env.get("MAILAPP_SEED") ?? 1) | 0;

/** Draws from [0, 1): the same numbers for the same 32-bit seed. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    // A Weyl sequence, mixed as MurmurHash3 ends; good enough to choose moments.
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ mixed >>> 16, 0x85ebca6b);
    mixed = Math.imul(mixed ^ mixed >>> 13, 0xc2b2ae35);
    return ((mixed ^ mixed >>> 16) >>> 0) / 2 ** 32;
  };
}

/** Chance for one test, whose name is printed with the seed. */
export function chance(test: string): () => number {
  console.log(`${test}: MAILAPP_SEED=${SEED}`);
  return seeded(SEED);
}

/** Waits for a random time below this many milliseconds. */
export async function anyMoment(random: () => number, ms: number): Promise<void> {
  const moment = Promise.withResolvers<void>();
  setTimeout(moment.resolve, random() * ms);
  await moment.promise;
}
