import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { run } from "../tests/support/peers/process.ts";

const MODULE = fileURLToPath(new URL("release_memory.ts", import.meta.url));

/**
 * What becomes of a thread's memory, in MB in use and as garbage: after how many looks it is given back, if at all.
 * `busy`: for so many looks the thread allocates between them.
 */
async function afterStart(
  { live, garbage, busy = 0 }: { live: number; garbage: number; busy?: number },
): Promise<string> {
  const code = `
    const make = (megabytes) => Array.from({ length: 125_000 * megabytes }, (_, n) => n + 0.5);
    const left = make(${live});
    make(${garbage});
    const heap = () => Deno.memoryUsage().heapTotal;
    const timers = [];
    globalThis.setTimeout = (run, ms) => (timers.push({ run, ms }), 0);
    Deno.unrefTimer = () => {};
    const before = heap();
    const { releaseStartMemory } = await import(${JSON.stringify(MODULE)});
    releaseStartMemory();
    let looks = 0;
    const parts = [];
    for (; looks < 40 && timers.length > 0; looks++) {
      if (looks < ${busy}) parts.push(make(1));
      timers.shift().run();
    }
    console.log(JSON.stringify({ looks, freed: before + 2 ** 20 * parts.length - heap() > 2 ** 20, live: left.length }));
  `;
  const { stdout, stderr } = await run(Deno.execPath(), {
    args: ["eval", "--v8-flags=--expose-gc,--max-semi-space-size=4", "--no-check", code],
  });
  assert.equal(stderr, "");
  return stdout.trim();
}

Deno.test("the memory of a start is given back when the thread has been idle for five looks", async () => {
  assert.equal(await afterStart({ live: 1, garbage: 8 }), '{"looks":6,"freed":true,"live":125000}');
});

Deno.test("a busy thread is not collected until it is idle", async () => {
  assert.match(await afterStart({ live: 1, garbage: 8, busy: 10 }), /^{"looks":1[56],"freed":true,/);
  assert.match(await afterStart({ live: 1, garbage: 8, busy: 40 }), /^{"looks":40,/);
});

Deno.test("where much is in use, such as a long queue, nothing is collected", async () => {
  assert.equal(await afterStart({ live: 80, garbage: 8 }), '{"looks":1,"freed":false,"live":10000000}');
});

Deno.test("without gc(), as in a test, nothing happens", async () => {
  const { releaseStartMemory } = await import("./release_memory.ts");
  releaseStartMemory();
});
