/**
 * Gives back the memory that a start has taken.
 *
 * @module
 */

/** Milliseconds between two looks at a thread, */
const EVERY = 1_000;
/** in which it has allocated no more than this, octets, */
const IDLE = 512 * 1024;
/** this many times in a row. By then it has read its modules, and serves. */
const LOOKS = 5;
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

/**
 * Collects the garbage of this thread's start as soon as it is idle: then it allocates too little for V8 to do it. A
 * busy one collects by itself, and would lose the code that V8 has optimised.
 */
export function releaseStartMemory(): void {
  const { gc } = globalThis as { readonly gc?: Collect };
  if (gc === undefined) return;
  let before = Infinity;
  let idle = 0;
  const wait = () => Deno.unrefTimer(setTimeout(look, EVERY));
  const look = () => {
    const { heapUsed } = Deno.memoryUsage();
    if (heapUsed > MAX_HEAP) return;
    const grown = heapUsed - before;
    idle = grown >= 0 && grown <= IDLE ? idle + 1 : 0;
    before = heapUsed;
    if (idle < LOOKS) return wait();
    gc({ type: "major", execution: "sync", flavor: "last-resort" });
  };
  wait();
}
