/**
 * How many 4 KB messages a second a Maildir delivery makes durable, without the protocol around it.
 *
 *     deno run -A bench/maildir_delivery.ts [DIRECTORY]
 *
 * The directory must be on the disk to measure; a new one is made in it and removed again.
 *
 * @module
 */
import { cpuUsage } from "node:process";
import { join } from "@std/path";
import { MaildirDelivery } from "../maildir/delivery.ts";
import { Mailboxes } from "../maildir/mailboxes.ts";
import { silentLogger } from "../base/log.ts";
import type { Envelope } from "../smtp/envelope.ts";
import { StagingArea } from "../storage/staging.ts";

const MESSAGES = { 1: 1000, 20: 6000, 100: 6000 };
const chunk = new TextEncoder().encode("Subject: bench\r\n\r\n" + `${"x".repeat(76)}\r\n`.repeat(52));
const address = { localPart: "alice", domain: "example.com", text: "alice@example.com" };
const envelope: Envelope = {
  reversePath: address,
  recipients: [{ forwardPath: address }],
  body: "7BIT",
  smtputf8: false,
};
const context = { envelope, origin: { id: "bench" } };
const prepend = [{ name: "Return-Path", value: "<alice@example.com>" }];

/** Delivers `count` messages, `sessions` of them at once; resolves to each one's milliseconds. */
async function run(
  delivery: MaildirDelivery,
  options: { count: number; sessions: number },
): Promise<number[]> {
  const latencies: number[] = [];
  let begun = 0;
  await Promise.all(Array.from({ length: options.sessions }, async () => {
    while (begun++ < options.count) {
      const start = performance.now();
      await delivery.checkSender(envelope, context);
      await delivery.checkRecipient({ forwardPath: address }, context);
      const message = await delivery.begin(envelope, context);
      await message.write(chunk);
      await message.commit(prepend);
      await message[Symbol.asyncDispose]();
      latencies.push(performance.now() - start);
    }
  }));
  return latencies.sort((a, b) => a - b);
}

const directory = await Deno.makeTempDir({ dir: Deno.args[0] ?? "/var/tmp", prefix: "mailapp-bench-" });
try {
  for (const [sessions, count] of Object.entries(MESSAGES)) {
    const root = join(directory, sessions);
    const delivery = new MaildirDelivery({
      mailboxes: new Mailboxes({
        domains: ["example.com"],
        path: join(root, "{domain}", "{user}"),
        users: ["alice"],
        aliases: { postmaster: "alice" },
        subaddressSeparator: "+",
      }),
      hostname: "mx.example.com",
      staging: new StagingArea({ directory: join(root, "staging") }),
      minFreeSpace: 0,
      logger: silentLogger,
    });
    const before = cpuUsage();
    const start = performance.now();
    const latencies = await run(delivery, { count, sessions: Number(sessions) });
    const seconds = (performance.now() - start) / 1000;
    const { user, system } = cpuUsage(before);
    const at = (share: number) => (latencies[Math.floor(latencies.length * share)] ?? 0).toFixed(1);
    console.log(
      `${sessions.padStart(4)} at once: ${(count / seconds).toFixed(0)} messages/s, ` +
        `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, ${((user + system) / count).toFixed(0)} µs of CPU each`,
    );
  }
} finally {
  await Deno.remove(directory, { recursive: true });
}
