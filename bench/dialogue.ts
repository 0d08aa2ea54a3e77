/**
 * What our own code costs for a message, without sockets and disk: whole dialogues over a transport that has all of
 * them ready, into a Maildir whose files are nowhere. Of file calls only the looks at its directories are real.
 *
 * ```sh
 * deno run -A --v8-flags=--max-semi-space-size=4 bench/dialogue.ts
 * ```
 *
 * @module
 */
import { MaildirDelivery } from "../maildir/delivery.ts";
import { Mailboxes } from "../maildir/mailboxes.ts";
import { startLog } from "../observe/logger.ts";
import { SmtpServer } from "../smtp/server.ts";
import { finalDeliveryPolicy } from "../smtp/server_policy.ts";
import type { Transport } from "../net/transport.ts";
import { denoFileSystem, type FileSystem, type OpenFile } from "../storage/file_system.ts";
import { StagingArea } from "../storage/staging.ts";
import { makeFolder } from "../tests/support/peers/folder.ts";
import { figure, median } from "./statistics.ts";

const WARM_UP = 8_000;
const MESSAGES = 5_000;
const ROUNDS = 9;

const encoder = new TextEncoder();
const message = "From: <sender@client.test>\r\nTo: <alice@bench.test>\r\nSubject: bench\r\n\r\n" +
  `${"x".repeat(78)}\r\n`.repeat(50);
/** What the client says, one read each, as smtp-source does. */
const lines = [
  "EHLO client.test\r\n",
  "MAIL FROM:<sender@client.test>\r\n",
  "RCPT TO:<alice@bench.test>\r\n",
  "DATA\r\n",
  `${message}.\r\n`,
  "QUIT\r\n",
].map((line) => encoder.encode(line));

let accepted = 0;

/** A client that has everything ready. */
class ReadyClient implements Transport {
  readonly remote = { address: "127.0.0.1", port: 2525 };
  readonly local = { address: "127.0.0.1", port: 25 };
  deadline = Infinity;
  #next = 0;

  read(buffer: Uint8Array): Promise<number | null> {
    const line = lines[this.#next++];
    if (line === undefined) return Promise.resolve(null);
    buffer.set(line);
    return Promise.resolve(line.length);
  }

  write(): Promise<void> {
    // What comes before QUIT is the answer to the message.
    if (this.#next === lines.length - 1) accepted++;
    return Promise.resolve();
  }

  close(): void {}
}

const file: OpenFile = {
  read: () => Promise.resolve(null),
  write: (data) => Promise.resolve(data.length),
  writeSync: (data) => data.length,
  seek: () => Promise.resolve(0),
  truncateSync: () => {},
  sync: () => Promise.resolve(),
  stat: () => Deno.stat("/dev/null"),
  close: () => {},
};
const nowhere: FileSystem = {
  ...denoFileSystem,
  openSync: () => file,
  renameSync: () => {},
  remove: () => Promise.resolve(),
};

await using folder = await makeFolder("dialogue");
await using log = startLog({ level: "info", format: "json", file: "/dev/null", isTerminal: false });
const delivery = new MaildirDelivery({
  mailboxes: new Mailboxes({
    domains: ["bench.test"],
    path: `${folder.path}/mail/{domain}/{user}`,
    users: ["alice"],
    aliases: { postmaster: "alice" },
    subaddressSeparator: "+",
  }),
  hostname: "mx.bench.test",
  staging: new StagingArea({ directory: folder.at("incoming") }),
  minFreeSpace: 0,
  logger: log.logger,
  fileSystem: nowhere,
});
const server = new SmtpServer({
  hostname: "mx.bench.test",
  delivery,
  policy: finalDeliveryPolicy({ hostname: "mx.bench.test" }),
  logger: log.logger,
});

async function hold(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await server.handle(new ReadyClient());
}

await hold(WARM_UP);
const rounds: number[] = [];
for (let round = 0; round < ROUNDS; round++) {
  const begin = performance.now();
  await hold(MESSAGES);
  rounds.push((performance.now() - begin) * 1000 / MESSAGES);
}
if (accepted !== WARM_UP + ROUNDS * MESSAGES) throw new Error(`only ${accepted} messages were accepted`);
console.log(`${figure(median(rounds))} µs of our own code a message of ${message.length} octets`);
console.log(`rounds: ${rounds.map((value) => figure(value)).join(", ")}`);
