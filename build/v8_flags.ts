/**
 * What the program asks of V8, as a setting of its own so that tests and benches run it as it is built.
 *
 * - A young generation of 64 MB, V8's own choice, saves a server nothing that can be measured.
 * - The old one is collected when it has grown by a third; by V8's own choice a long queue would leave twice its
 *   memory in garbage.
 *
 * deno.json says the same for the program from source.
 *
 * @module
 */

/** For `--v8-flags` or `DENO_V8_FLAGS`. */
export const V8_FLAGS = "--max-semi-space-size=4,--heap-growing-percent=30";
