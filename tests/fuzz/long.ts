/**
 * The long form of the dialogues made by chance: `deno task fuzz`.
 *
 * It runs in batches, each with a seed of its own that is made of the first one, so that what was broken off can be
 * taken up again: `deno task fuzz -- --seed N --batch K`.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { fc } from "../support/property.ts";
import { scripts } from "./dialogue.ts";
import { hold } from "./hold.ts";
import { holdOverTcp } from "./hold_over_tcp.ts";

const BATCH = 1000;
// What the heap of a process that lives on may differ by, in octets.
const HEAP_SLACK = 48 * 1024 ** 2;

const args = Deno.args.filter((argument) => argument !== "--");
const { values } = parseArgs({
  args,
  options: {
    /** What all chance is made of. */
    seed: { type: "string", default: String(crypto.getRandomValues(new Uint32Array(1))[0] ?? 0) },
    /** The first batch to run. */
    batch: { type: "string", default: "0" },
    /** Dialogues in memory, in all. */
    dialogues: { type: "string", default: "200000" },
    /** Dialogues over TCP, TLS and Maildirs. */
    tcp: { type: "string", default: "2000" },
  },
});

// fast-check's seeds are 32-bit integers.
const seed = Number(values.seed) | 0;
const batches = Math.ceil(Number(values.dialogues) / BATCH);
const startedAt = performance.now();
let failed = false;
let heapAtFirst = 0;
const total = { messages: 0, handshakes: 0, replies: 0 };

console.log(`seed ${seed}: ${batches} batches of ${BATCH} dialogues`);
for (let batch = Number(values.batch); batch < batches && !failed; batch++) {
  const result = await fc.check(
    fc.asyncProperty(scripts, async (script) => {
      const { stored, upgrades, heard } = await hold(script);
      total.messages += stored.length;
      total.handshakes += upgrades.length;
      total.replies += heard.match(/^\d{3} /gm)?.length ?? 0;
    }),
    { numRuns: BATCH, seed: seed + batch },
  );
  if (result.failed) {
    failed = true;
    console.error(await fc.asyncDefaultReportMessage(result));
    console.error(result.errorInstance);
    console.error(`to repeat: deno task fuzz -- --seed ${seed} --batch ${batch}`);
  }
  const { heapUsed } = Deno.memoryUsage();
  // The first batches fill caches and let the compiler work.
  if (batch <= Number(values.batch) + 5) heapAtFirst = Math.max(heapAtFirst, heapUsed);
  if (batch % 10 === 9 || batch === batches - 1) {
    const seconds = Math.round((performance.now() - startedAt) / 1000);
    console.log(
      `batch ${batch + 1} of ${batches}, ${seconds} s, heap ${Math.round(heapUsed / 1024 ** 2)} MiB`,
    );
  }
  if (heapUsed > heapAtFirst + HEAP_SLACK) {
    failed = true;
    console.error(`the heap grew from ${heapAtFirst} to ${heapUsed} octets: something is kept`);
  }
}
console.log(
  `${total.replies} replies in the clear, ${total.messages} messages stored, ${total.handshakes} handshakes begun`,
);
if (!failed && Number(values.tcp) > 0) {
  try {
    await holdOverTcp({ seed, dialogues: Number(values.tcp), report: console.log });
  } catch (error) {
    failed = true;
    console.error(error);
    console.error(`to repeat: deno task fuzz -- --seed ${seed} --batch ${batches}`);
  }
}
console.log(`${failed ? "FAILED" : "ok"} in ${Math.round((performance.now() - startedAt) / 1000)} s`);
Deno.exit(failed ? 1 : 0);
