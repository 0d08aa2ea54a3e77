import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { run } from "../tests/support/peers/process.ts";

const MODULE = fileURLToPath(new URL("release_memory.ts", import.meta.url));

/** What becomes of a thread's memory, in MB in use and as garbage, when the timers of its start have run. */
async function afterStart({ live, garbage }: { live: number; garbage: number }): Promise<string> {
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
    for (const { run } of timers) run();
    console.log(JSON.stringify({ ms: timers.map(({ ms }) => ms), freed: before - heap() > 2 ** 20, live: left.length }));
  `;
  const { stdout, stderr } = await run(Deno.execPath(), {
    args: ["eval", "--v8-flags=--expose-gc,--max-semi-space-size=4", "--no-check", code],
  });
  assert.equal(stderr, "");
  return stdout.trim();
}

Deno.test("the memory of a start is given back a few seconds later", async () => {
  assert.equal(await afterStart({ live: 1, garbage: 8 }), '{"ms":[5000],"freed":true,"live":125000}');
});

Deno.test("where much is in use, such as a long queue, nothing is collected", async () => {
  const much = { live: 80, garbage: 8 };
  assert.equal(await afterStart(much), '{"ms":[5000],"freed":false,"live":10000000}');
});

Deno.test("without gc(), as in a test, nothing happens", async () => {
  const { releaseStartMemory } = await import("./release_memory.ts");
  releaseStartMemory();
});
