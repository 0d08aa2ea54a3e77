/**
 * Gives back the memory that a start has taken.
 *
 * @module
 */

/** Milliseconds from the start of a thread; by then it has read its modules, and serves. */
const AFTER = 5_000;
/** Octets of live objects beyond which it is left to V8: collecting them all would hold up the thread for long. */
const MAX_HEAP = 64 * 1024 * 1024;

/** V8's `gc()`, which build/v8_flags.ts turns on. */
type Collect = (
  options: {
    readonly type: "major";
    readonly execution: "sync";
    /** Also returns empty pages to the system, which V8 else keeps for as long as nothing is allocated. */
    readonly flavor: "last-resort";
  },
) => void;

/** Collects the garbage of this thread's start in a few seconds. An idle server allocates too little for V8 to do it. */
export function releaseStartMemory(): void {
  const { gc } = globalThis as { readonly gc?: Collect };
  if (gc === undefined) return;
  const collect = () => {
    if (Deno.memoryUsage().heapUsed > MAX_HEAP) return;
    gc({ type: "major", execution: "sync", flavor: "last-resort" });
  };
  Deno.unrefTimer(setTimeout(collect, AFTER));
}
