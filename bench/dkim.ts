/**
 * What DKIM costs: a signature by `node:crypto` and by WebCrypto, hashing a body, and serve-out with and without keys,
 * from the first connection of a client to the last message at smtp-sink.
 *
 * Run it with `deno run -A bench/dkim.ts`; needs Postfix's smtp-sink. `--messages` and `--rounds` say how much.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createPrivateKey, type KeyObject, sign } from "node:crypto";
import process from "node:process";
import { parseArgs } from "node:util";
import { RelaxedBodyHash } from "../dkim/body.ts";
import { type DkimAlgorithm, makeDkimKey, parseDkimKey } from "../dkim/keys.ts";
import { DkimSigner } from "../dkim/sign.ts";
import { silentLogger } from "../base/log.ts";
import { makeFolder } from "../tests/support/peers/folder.ts";
import { startServeOut } from "../tests/support/peers/mailapp.ts";
import { freePort, untilListening } from "../tests/support/peers/ports.ts";
import { start } from "../tests/support/peers/process.ts";
import { runLoadClient } from "./load_client.ts";
import { costOf } from "./process_tree.ts";
import { figure, markdownTable, median } from "./statistics.ts";

const SIZE = 4096;
const SESSIONS = 20;
const SIGNATURES = 500;
const MEGABYTES = 100;

const ALGORITHMS: readonly DkimAlgorithm[] = ["rsa-sha256", "ed25519-sha256"];

/** Processor time and time passed of some work, in milliseconds. */
async function timed(work: () => Promise<void> | void): Promise<{ cpu: number; wall: number }> {
  const [before, begin] = [process.cpuUsage(), performance.now()];
  await work();
  const { user, system } = process.cpuUsage(before);
  return { cpu: (user + system) / 1000, wall: performance.now() - begin };
}

/** Runs `one` this often, with this many at a time. */
async function repeat(
  one: () => Promise<unknown>,
  { times, atOnce }: { readonly times: number; readonly atOnce: number },
): Promise<void> {
  let left = times;
  await Promise.all(Array.from({ length: atOnce }, async () => {
    while (left-- > 0) await one();
  }));
}

async function benchSignatures(): Promise<string> {
  const data = crypto.getRandomValues(new Uint8Array(900));
  const rows = [[
    "a signature",
    "processor time, µs",
    "event loop held, µs",
    "signatures a second, 16 at a time",
  ]];
  for (const algorithm of ALGORITHMS) {
    const pem = await makeDkimKey(algorithm);
    const key = await parseDkimKey(pem, { domain: "bench.test", selector: "s" });
    const secret: KeyObject = createPrivateKey(pem);
    const digest = algorithm === "rsa-sha256" ? "sha256" : null;
    const node = await timed(() => {
      for (let i = 0; i < SIGNATURES; i++) sign(digest, data, secret);
    });
    const web = await timed(() => repeat(() => key.sign(data), { times: SIGNATURES, atOnce: 16 }));
    const each = (ms: number) => figure(ms * 1000 / SIGNATURES);
    rows.push(
      [
        `${algorithm}, node:crypto sign()`,
        each(node.cpu),
        each(node.wall),
        figure(SIGNATURES * 1000 / node.wall),
      ],
      [`${algorithm}, crypto.subtle.sign()`, each(web.cpu), "–", figure(SIGNATURES * 1000 / web.wall)],
    );
  }
  return markdownTable(rows);
}

async function benchBody(): Promise<string> {
  const chunk = Buffer.from(`${"x".repeat(30)} ${"y".repeat(45)}\r\n`.repeat(840));
  const hash = new RelaxedBodyHash();
  const body = await timed(() => {
    for (let done = 0; done < MEGABYTES << 20; done += chunk.length) hash.push(chunk);
    hash.digest();
  });
  const key = await parseDkimKey(await makeDkimKey("ed25519-sha256"), {
    domain: "bench.test",
    selector: "s",
  });
  const signer = new DkimSigner({
    keys: [{ ...key, sign: () => Promise.resolve(new Uint8Array(256)) }],
    logger: silentLogger,
  });
  const message = Buffer.from(
    "From: <sender@bench.test>\r\nTo: <alice@bench.test>\r\nSubject: bench\r\n\r\n" + chunk.subarray(0, 4000),
  );
  const all = await timed(() => repeat(() => signer.sign("id", message), { times: 5000, atOnce: 1 }));
  return markdownTable([
    ["all but the signature", "processor time"],
    ["canonical form and hash of a MiB of body", `${figure(body.cpu / MEGABYTES)} ms`],
    ["a message of 4 KB", `${figure(all.cpu / 5)} µs`],
  ]);
}

interface Measurement {
  readonly rate: number;
  readonly cpu: number;
}

/** Passes messages through a fresh serve-out with keys of these algorithms. */
async function measure(algorithms: readonly DkimAlgorithm[], messages: number): Promise<Measurement> {
  await using folder = await makeFolder("bench-dkim");
  const port = freePort();
  const count = await folder.write("count", "");
  await using _sink = start("sh", {
    args: ["-c", 'exec smtp-sink -c -u nobody "$1" 1000 > "$0"', count, `inet:[127.0.0.1]:${port}`],
  });
  await untilListening(port);
  const keys = [];
  for (const [index, algorithm] of algorithms.entries()) {
    const key = await folder.write(`key${index}.pem`, await makeDkimKey(algorithm), { mode: 0o600 });
    keys.push({ selector: `s${index}`, key });
  }
  await using server = await startServeOut({
    routes: { "bench.test": `127.0.0.1:${port}` },
    settings: { max_connections_per_host: 20 },
    logFile: folder.at("log"),
    ...(keys.length > 0 && { dkim: { "bench.test": keys } }),
  });
  const { result: seconds, cpu } = await costOf(server.program.pid, async () => {
    const before = performance.now();
    const report = await runLoadClient({
      host: "127.0.0.1",
      port: server.port,
      sessions: SESSIONS,
      messages,
      size: SIZE,
      recipient: "alice@bench.test",
      keep: true,
    });
    // The client counts from its first connection, not from its start.
    const begin = Math.max(before, performance.now() - report.seconds * 1000);
    while (await arrived(count) < messages) await new Promise((resolve) => setTimeout(resolve, 20));
    return (performance.now() - begin) / 1000;
  });
  return { rate: messages / seconds, cpu: cpu * 1000 / messages };
}

/** The last count in what `smtp-sink -c` wrote. */
async function arrived(file: string): Promise<number> {
  return Number([...(await Deno.readTextFile(file)).matchAll(/mesg=(\d+)\r/g)].at(-1)?.[1] ?? 0);
}

const VARIANTS: readonly { readonly title: string; readonly algorithms: readonly DkimAlgorithm[] }[] = [
  { title: "unsigned", algorithms: [] },
  { title: "rsa-sha256, 2048 bits", algorithms: ["rsa-sha256"] },
  { title: "rsa-sha256 and ed25519-sha256", algorithms: ["rsa-sha256", "ed25519-sha256"] },
];

async function benchServeOut({ messages, rounds }: { messages: number; rounds: number }): Promise<string> {
  const measured = new Map<string, Measurement[]>(VARIANTS.map(({ title }) => [title, []]));
  for (let round = 0; round < rounds; round++) {
    for (const { title, algorithms } of VARIANTS) {
      const measurement = await measure(algorithms, messages);
      measured.get(title)?.push(measurement);
      console.error(
        `round ${round + 1}, ${title}: ${figure(measurement.rate)}/s, CPU ${figure(measurement.cpu)} ms`,
      );
    }
  }
  const rate = (title: string) => median(measured.get(title)?.map(({ rate }) => rate) ?? []);
  const cost = (title: string) => median(measured.get(title)?.map(({ cpu }) => cpu) ?? []);
  return markdownTable([
    ["serve-out, messages of 4 KB", "relayed a second", "less than unsigned", "processor time a message"],
    ...VARIANTS.map(({ title }) => [
      title,
      figure(rate(title)),
      `${figure(100 * (1 - rate(title) / rate("unsigned")))} %`,
      `${figure(cost(title))} ms`,
    ]),
  ]);
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      messages: { type: "string", default: "2000" },
      rounds: { type: "string", default: "5" },
    },
  });
  console.log(await benchSignatures());
  console.log(await benchBody());
  console.log(await benchServeOut({ messages: Number(values.messages), rounds: Number(values.rounds) }));
}
