/**
 * V8 flags of the program, in one place so that tests and benches run it as it is built.
 *
 * @module
 */

/**
 * For `--v8-flags` or `DENO_V8_FLAGS`: a young generation of 64 MB, V8's own choice, takes more memory than it saves
 * time. `gc()` is for the memory of a start (server/release_memory.ts), and for the thread that hashes passwords: each
 * hash leaves 19 MiB of WebAssembly memory, which V8 does not count. deno.json sets the same for the program from source.
 */
export const V8_FLAGS = "--max-semi-space-size=4,--expose-gc";

/**
 * The same for serve-out. A young generation twice as large halves the number of its collections, each of which copies
 * all messages that are in flight. The memory of serve-out is mostly its queue: the old generation is collected when it
 * has doubled, since with V8's default a long queue leaves far more garbage. Growth by a third instead of twice saves
 * more memory, and costs messages of 100 KB an eighth of their throughput. The compiled form has {@linkcode V8_FLAGS}
 * only: its flags are those of the build, and Deno reads `DENO_V8_FLAGS` there in vain (denoland/deno#19808).
 */
export const V8_FLAGS_SERVE_OUT = `${V8_FLAGS},--max-semi-space-size=8,--heap-growing-percent=100`;

/** As portable.sh gives them to each command. */
export function v8FlagsOf(command: string | undefined): string {
  return command === "serve-out" ? V8_FLAGS_SERVE_OUT : V8_FLAGS;
}
