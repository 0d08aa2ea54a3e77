/**
 * How long a start on a long queue takes: `deno run -A bench/queue_start.ts [ENTRIES]`, by default 100,000. The spool
 * is made in $TMPDIR and removed afterwards.
 *
 * @module
 */
import process from "node:process";
import { crc32 } from "node:zlib";
import { silentLogger } from "../observe/log.ts";
import { Spool } from "../relay/spool.ts";
import { encodeHead, formatCheck } from "../relay/spool_format.ts";

const ENTRIES = Number(Deno.args[0] ?? 100_000);
const DOMAINS = 5000;
const MESSAGE = new TextEncoder().encode(`Subject: x\r\n\r\n${"0123456789".repeat(60)}\r\n`);

/** Writes files as the spool does, but for the syncs. */
function fill(directory: string): void {
  const check = formatCheck(crc32(MESSAGE));
  for (let n = 0; n < ENTRIES; n++) {
    const shard = (Math.floor(n / 1000) % 1024).toString(36).padStart(2, "0");
    if (n % 1000 === 0) Deno.mkdirSync(`${directory}/messages/${shard}`, { recursive: true });
    const id = `0bench${n.toString(36).padStart(10, "0")}${shard}`;
    const domain = `d${n % DOMAINS}.example`;
    const head = encodeHead({
      id,
      acceptedAt: 1_795_000_000_000 + n,
      reversePath: "alice@sender.example",
      body: "7BIT",
      smtputf8: false,
      size: MESSAGE.length,
      content: { eightBitHeader: false, eightBitBody: false },
      recipients: [{
        address: `user${n}@${domain}`,
        domain,
        status: "pending",
        attemptCount: 0,
        attempts: [],
        nextAttemptAt: 0,
        delayNotified: false,
        settled: false,
      }],
    }, check);
    const file = new Uint8Array(head.length + MESSAGE.length);
    new TextEncoder().encodeInto(head, file);
    file.set(MESSAGE, head.length);
    Deno.writeFileSync(`${directory}/messages/${shard}/${id}`, file);
  }
}

async function measure(what: string, entries: AsyncIterable<unknown>): Promise<void> {
  const began = performance.now();
  const before = process.cpuUsage();
  let found = 0;
  for await (const _ of entries) found++;
  const { user, system } = process.cpuUsage(before);
  const seconds = (performance.now() - began) / 1000;
  const processor = (user + system) / 1e6;
  console.log(`${what}: ${found} in ${seconds.toFixed(1)} s, ${processor.toFixed(1)} s of processor time`);
}

const directory = await Deno.makeTempDir();
try {
  fill(directory);
  for (const what of ["first scan, without an index", "scan with the index"]) {
    await using spool = await Spool.open({ directory, logger: silentLogger });
    await measure(what, spool.scan());
    await measure("  entries of one domain", spool.ids({ domain: "d7.example" }));
  }
} finally {
  await Deno.remove(directory, { recursive: true });
}
