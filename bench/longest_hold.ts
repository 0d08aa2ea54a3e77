/**
 * For how long a message that is dear to check holds the event loop at once: the longest of the pieces that it comes in,
 * and the longest time without a turn while its verdict is found. The best of some rounds counts, so that what else the
 * machine does counts for little.
 *
 * ```sh
 * deno run -A --frozen bench/longest_hold.ts [ROUNDS]
 * ```
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { systemClock } from "../base/clock.ts";
import { silentLogger } from "../base/log.ts";
import { MemoryBudget } from "../base/memory_budget.ts";
import { MailInspector } from "../checks/inspector.ts";
import { InspectedData } from "../smtp/inspected_data.ts";
import { rsaKey } from "../tests/support/dkim.ts";
import { envelope } from "../tests/support/maildir_setting.ts";
import { StaticResolver } from "../tests/support/static_resolver.ts";
import { HOSTILE_SCENARIOS } from "./hostile.ts";
import { ALL_CHECKS } from "./signed_mail.ts";
import { figure, markdownTable } from "./statistics.ts";

const PIECE = 64 * 1024;
const MEMORY = 256 * 1024 ** 2;

const rounds = Number(Deno.args[0] ?? 5);
const key = rsaKey(2048);
const inspector = new MailInspector({
  hostname: "mx.bench.test",
  checks: {
    ...ALL_CHECKS,
    trustedSealers: [],
    timeoutMs: 10_000,
    greylist: "off",
    filterFailure: "accept",
  },
  isOwnDomain: () => false,
  resolver: new StaticResolver({ "s._domainkey.hostile.test": { txt: [key.record] } }),
  clock: systemClock,
  logger: silentLogger,
});

const rows = [["message", "octets", "its longest piece, ms", "its verdict without a turn, ms"]];
for (const { title, text } of HOSTILE_SCENARIOS) {
  if (text === undefined) continue;
  const data = Buffer.from(text(key), "latin1");
  const holds: Hold[] = [];
  for (let round = 0; round < rounds; round++) holds.push(await inspect(data));
  rows.push([
    title,
    data.length.toLocaleString("en"),
    figure(Math.min(...holds.map(({ piece }) => piece))),
    figure(Math.min(...holds.map(({ verdict }) => verdict))),
  ]);
}
console.log(markdownTable(rows));

/** Milliseconds. */
interface Hold {
  readonly piece: number;
  readonly verdict: number;
}

async function inspect(message: Uint8Array): Promise<Hold> {
  const inspection = await inspector.begin(envelope("alice@bench.test"), {
    id: "s1",
    remote: { address: "192.0.2.1", port: 1 },
    local: { address: "192.0.2.200", port: 25 },
    hello: { verb: "EHLO", domain: "hostile.test" },
    errorCount: 0,
    messageCount: 0,
    refusedRecipientCount: 0,
  });
  using data = new InspectedData(inspection, new MemoryBudget(MEMORY));
  let piece = 0;
  for (let at = 0; at < message.length && data.refusal === undefined; at += PIECE) {
    const begin = performance.now();
    await data.push(message.subarray(at, at + PIECE));
    piece = Math.max(piece, performance.now() - begin);
    await turn();
  }
  return { piece, verdict: data.refusal === undefined ? await longestWait(data.verdict()) : 0 };
}

/** The longest time between two turns of the event loop until the work is over. */
async function longestWait(work: Promise<unknown>): Promise<number> {
  let over = false;
  const done = work.finally(() => over = true);
  let longest = 0;
  for (let last = performance.now(); !over;) {
    await turn();
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
  }
  await done;
  return longest;
}

function turn(): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, 0));
}
