/**
 * What a long queue costs serve-out: `deno run -A --frozen bench/long_queue.ts [ENTRIES…]`, by default 1000 and
 * 100000. For each number a spool is filled with entries that wait for hours, and serve-out is started on it twice:
 * how soon it sends what is due, its memory, `mailapp queue list --domain`, and what a message costs meanwhile.
 *
 * A million entries take 2 million files and 8 GB of $TMPDIR. Needs root and smtp-sink.
 *
 * @module
 */
import { runMailapp } from "../tests/support/mailapp.ts";
import { type Folder, makeFolder } from "../tests/support/peers/folder.ts";
import { type ServeOut, startServeOut } from "../tests/support/peers/mailapp.ts";
import { freePort } from "../tests/support/peers/ports.ts";
import { runOk, until } from "../tests/support/peers/process.ts";
import { serveArrivals } from "./arrivals.ts";
import { runLoadClient } from "./load_client.ts";
import { costOf, cpuSeconds, residentMemory } from "./process_tree.ts";
import { startSinks } from "./sinks.ts";
import { figure, markdownTable, median } from "./statistics.ts";
import { MESSAGE, waitingEntry } from "./waiting_entry.ts";

const DEFAULT_LENGTHS = [1000, 100_000];
const DOMAINS = 5000;
const LISTED = 7;
const ENTRIES_PER_SHARD = 1000;
const ROUNDS = 3;
const MESSAGES = 2000;
const HOUR = 3_600_000;
const PATIENCE = 15 * 60_000;
const MIB = 1024 * 1024;

/** Who takes what is due in the folders of the spool that a scan comes to first and last, and the load. */
const HOSTS = { first: "127.0.3.1", last: "127.0.3.2", load: "127.0.3.3" } as const;
const SMTP_PORT = freePort();

/** The figures of one start. */
interface Start {
  /** Seconds from the start of the process to the connection for the entry due in the first folder of the spool. */
  readonly first: number;
  /** The same for the last folder. */
  readonly last: number;
  /** When all entries have been seen: resident memory, bytes, and processor time used, seconds. */
  readonly memory: number;
  readonly cpu: number;
}

/** The figures of one queue. */
interface Figures {
  readonly start: Start;
  readonly restart: Start;
  /** The most resident memory of the restarted server, bytes. */
  readonly peak: number;
  /** Seconds of `mailapp queue list --domain`. */
  readonly listRunning: number;
  readonly listStopped: number;
  /** Processor milliseconds of the server a message. */
  readonly cpu: number;
}

async function measure(entries: number, folder: Folder): Promise<Figures> {
  const spool = await makeSpool(folder);
  say(entries, "filling the spool");
  fill(spool, entries);
  say(entries, "start without an index");
  const { start } = await startOn(folder, spool, async () => {});
  say(entries, "start with the index");
  const { start: restart, result, config } = await startOn(folder, spool, async (server) => ({
    listRunning: await timeList(server.config, entries),
    cpu: await relayCost(server, folder),
    peak: residentMemory(server.program.pid).peak,
  }));
  say(entries, "without a server");
  return { start, restart, ...result, listStopped: await timeList(config, entries) };
}

async function makeSpool(folder: Folder): Promise<string> {
  await folder.mkdir("data", { mode: 0o700 });
  return await folder.mkdir("data/spool", { mode: 0o700 });
}

/** Writes files as the spool does, but for the syncs. */
function fill(spool: string, entries: number): void {
  const now = Date.now();
  for (let n = 0; n < entries; n++) {
    const shard = Math.floor(n / ENTRIES_PER_SHARD).toString(36).padStart(2, "0");
    if (n % ENTRIES_PER_SHARD === 0) {
      for (const kind of ["messages", "states"]) {
        Deno.mkdirSync(`${spool}/${kind}/${shard}`, { recursive: true });
      }
    }
    const due = now + 2 * HOUR + (2 * HOUR * n) / entries;
    writeEntry(spool, { shard, sequence: n, domain: `d${n % DOMAINS}.example`, due: Math.floor(due) });
  }
}

/** Puts an entry that is due into the first and the last folder that a scan reads. */
function addDue(spool: string): void {
  const shards = [...Deno.readDirSync(`${spool}/messages`)].map(({ name }) => name);
  const due = Date.now() - HOUR;
  writeEntry(spool, { shard: shards.at(0) ?? "", sequence: 0, domain: "first.example", due });
  writeEntry(spool, { shard: shards.at(-1) ?? "", sequence: 1, domain: "last.example", due });
}

function writeEntry(
  spool: string,
  { shard, sequence, domain, due }: { shard: string; sequence: number; domain: string; due: number },
): void {
  const { entry: { id }, head, state } = waitingEntry(sequence, { domain, shard, due });
  const file = new Uint8Array(head.length + MESSAGE.length);
  file.set(new TextEncoder().encode(head));
  file.set(MESSAGE, head.length);
  Deno.writeFileSync(`${spool}/messages/${shard}/${id}`, file, { mode: 0o600 });
  Deno.writeTextFileSync(`${spool}/states/${shard}/${id}.json`, state, { mode: 0o600 });
}

/** Starts the server on the spool, measures that, and then does something with it. */
async function startOn<T>(
  folder: Folder,
  spool: string,
  work: (server: ServeOut) => Promise<T>,
): Promise<{ readonly start: Start; readonly result: T; readonly config: string }> {
  addDue(spool);
  // Else the disk is busy with what was written here, and that is what would be measured.
  await runOk("sync", { within: PATIENCE });
  await using first = receiveAt(HOSTS.first);
  await using last = receiveAt(HOSTS.last);
  const began = performance.now();
  await using server = await startServeOut({
    folder,
    settings: { max_connections_per_host: 20 },
    routes: Object.fromEntries(
      Object.entries(HOSTS).map(([name, address]) => [`${name}.example`, `${address}:${SMTP_PORT}`]),
    ),
  });
  await server.program.line(/"event":"queue\.scanned"/, { within: PATIENCE });
  const { pid } = server.program;
  const seen = { memory: residentMemory(pid).now, cpu: cpuSeconds(pid) };
  const seconds = async ({ connected }: Receiver, what: string) =>
    (await until(connected, { what, within: PATIENCE }) - began) / 1000;
  const start = {
    first: await seconds(first, "the first attempt"),
    last: await seconds(last, "the last attempt"),
    ...seen,
  };
  return { start, result: await work(server), config: server.config };
}

interface Receiver extends AsyncDisposable {
  /** When the first connection came, by `performance.now()`. */
  connected(): number | undefined;
}

function receiveAt(hostname: string): Receiver {
  const listener = Deno.listen({ hostname, port: SMTP_PORT });
  let at: number | undefined;
  const serving = serveArrivals(listener, { connected: () => at ??= performance.now() });
  return {
    connected: () => at,
    async [Symbol.asyncDispose]() {
      listener.close();
      await serving;
    },
  };
}

/** How long a user waits for the list of one domain, seconds. */
async function timeList(config: string, entries: number): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const began = performance.now();
    const listed = await runMailapp([
      ..."queue list --config".split(" "),
      config,
      "--domain",
      `d${LISTED}.example`,
    ]);
    times.push((performance.now() - began) / 1000);
    const found = Number(/^(\d+) messages?, /m.exec(listed.stdout)?.[1]);
    if (found !== Math.ceil((entries - LISTED) / DOMAINS)) {
      throw new Error(`queue list: ${found} messages\n${listed.stderr}`);
    }
  }
  return median(times);
}

/** Processor milliseconds of the server for each message that it takes and passes on. */
async function relayCost(server: ServeOut, folder: Folder): Promise<number> {
  await using sinks = await startSinks(folder, { port: SMTP_PORT, hosts: [HOSTS.load] });
  const relay = async () => {
    const before = await sinks.count();
    await runLoadClient({
      host: "127.0.0.1",
      port: server.port,
      sessions: 20,
      messages: MESSAGES,
      size: 4096,
      recipient: "alice@load.example",
      keep: true,
    });
    const all = async () => await sinks.count() >= before + MESSAGES;
    await until(all, { what: "the last message", within: PATIENCE });
  };
  // A young process is slower, whatever its queue.
  await relay();
  const costs: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const { cpu } = await costOf(server.program.pid, relay);
    costs.push(cpu * 1000 / MESSAGES);
  }
  return median(costs);
}

function table(queues: readonly { readonly entries: number; readonly figures: Figures }[]): string {
  const base = queues[0]?.figures.cpu ?? NaN;
  const row = (title: string, value: (figures: Figures) => number) => [
    title,
    ...queues.map(({ figures }) => figure(value(figures))),
  ];
  const startRows = (title: string, of: (figures: Figures) => Start) => [
    row(`${title}: first attempt, s`, (figures) => of(figures).first),
    row(`${title}: attempt for the entry found last, s`, (figures) => of(figures).last),
    row(`${title}: processor time until all has been seen, s`, (figures) => of(figures).cpu),
    row(`${title}: resident memory then, MiB`, (figures) => of(figures).memory / MIB),
  ];
  return markdownTable([
    ["Deferred entries", ...queues.map(({ entries }) => entries.toLocaleString("en"))],
    ...startRows("start without an index", ({ start }) => start),
    ...startRows("start with the index", ({ restart }) => restart),
    row("most resident memory, relaying included, MiB", ({ peak }) => peak / MIB),
    row("`queue list --domain`, serve-out running, s", ({ listRunning }) => listRunning),
    row("`queue list --domain`, serve-out stopped, s", ({ listStopped }) => listStopped),
    row("processor time for a relayed message, ms", ({ cpu }) => cpu),
    row("the same against the shortest queue", ({ cpu }) => cpu / base),
  ]);
}

function say(entries: number, what: string): void {
  console.error(`${new Date().toISOString().slice(11, 19)} ${entries.toLocaleString("en")} entries: ${what}`);
}

/** Millions of files may take longer to remove than all else took; do not wait for that. */
function removeLater(folders: readonly Folder[]): void {
  const paths = folders.map(({ path }) => path);
  console.error(`removed in the background: ${paths.join(" ")}`);
  new Deno.Command("setsid", {
    args: ["rm", "-rf", ...paths],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn().unref();
}

const lengths = Deno.args.length === 0 ? DEFAULT_LENGTHS : Deno.args.map(Number).sort((a, b) => a - b);
const longest = ENTRIES_PER_SHARD * 1024;
if (!lengths.every((entries) => Number.isInteger(entries) && entries > LISTED && entries <= longest)) {
  console.error(
    `usage: deno run -A --frozen bench/long_queue.ts [ENTRIES…], each from ${LISTED + 1} to ${longest}`,
  );
  Deno.exit(64);
}
const folders: Folder[] = [];
try {
  const queues: { entries: number; figures: Figures }[] = [];
  for (const entries of lengths) {
    const folder = await makeFolder("long-queue");
    folders.push(folder);
    queues.push({ entries, figures: await measure(entries, folder) });
  }
  console.log(table(queues));
} finally {
  removeLater(folders);
}
