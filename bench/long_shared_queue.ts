/**
 * What a long queue in PostgreSQL costs: `deno run -A --frozen bench/long_shared_queue.ts [--churn MINUTES] [--rate MESSAGES]
 * [ENTRIES…]`, by default 1000 and 100000. For each number a database is filled with entries that wait for hours, and serve-out is
 * started on it: how soon it sends what is due, its memory, and what a message costs, the database's part too. With
 * `--churn` messages then pass for so long, as many a second as `--rate` says or as fast as they can, and the sizes of
 * tables and indexes are told every half minute.
 *
 * A million entries take 3 GB of $TMPDIR. Needs root, PostgreSQL, smtp-sink and gcc.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { runMailapp } from "../tests/support/mailapp.ts";
import { type Folder, makeFolder } from "../tests/support/peers/folder.ts";
import type { ServeOut } from "../tests/support/peers/mailapp.ts";
import { freePort } from "../tests/support/peers/ports.ts";
import { until } from "../tests/support/peers/process.ts";
import { PostgresServer } from "../tests/support/postgres_server.ts";
import { serveArrivals } from "./arrivals.ts";
import { cpuSeconds, residentMemory } from "./process_tree.ts";
import { DATABASE_SETTINGS, sharedAddress, startHost } from "./queue.ts";
import { buildQuickLoad, type QuickLoad } from "./quick_load.ts";
import { type Sinks, startSinks } from "./sinks.ts";
import { figure, markdownTable, median } from "./statistics.ts";
import { MESSAGE, waitingEntry } from "./waiting_entry.ts";

const { values: { churn, rate }, positionals } = parseArgs({
  options: { churn: { type: "string", default: "0" }, rate: { type: "string" } },
  allowPositionals: true,
});
const LENGTHS = positionals.length === 0 ? [1000, 100_000] : positionals.map(Number);
const DOMAINS = 5000;
const LISTED = 7;
const ROUNDS = 3;
const MESSAGES = 2000;
const ROWS_AT_ONCE = 50_000;
const HOUR = 3_600_000;
const PATIENCE = 15 * 60_000;
/** With `--rate` messages pass this often, milliseconds. */
const CHURN_EVERY = 5_000;
const MIB = 1024 * 1024;
/** Where an entry goes that is due. */
const DUE_ADDRESS = "127.0.3.1";

interface Figures {
  /** Seconds from the start of the process to the connection for an entry that is due. */
  readonly first: number;
  /** Resident memory after that, and the most of it, bytes. */
  readonly memory: number;
  readonly peak: number;
  /** Seconds of `mailapp queue list --domain`. */
  readonly list: number;
  /** Processor milliseconds for a message. */
  readonly host: number;
  readonly database: number;
}

async function measure(entries: number, { folder, load }: Bench): Promise<Figures> {
  await using server = await PostgresServer.start({
    fsync: true,
    // Then what is loaded is not written twice.
    settings: { ...DATABASE_SETTINGS, wal_level: "minimal", max_wal_senders: "0" },
  });
  const url = await server.newDatabase();
  say(entries, "filling the tables");
  await fill(server, { folder, entries });
  say(entries, "starting serve-out");
  const port = freePort();
  const target = { address: sharedAddress(), port };
  await using sinks = await startSinks(folder, { port, hosts: [target.address] });
  using due = Deno.listen({ hostname: DUE_ADDRESS, port });
  let connectedAt: number | undefined;
  void serveArrivals(due, { connected: () => connectedAt ??= performance.now() });
  const began = performance.now();
  await using host = await startHost({
    ...{ folder, name: `q${entries}`, url, target },
    routes: { "due.example": `${DUE_ADDRESS}:${port}` },
  });
  await until(() => connectedAt !== undefined, { what: "the first attempt", within: PATIENCE });
  const first = ((connectedAt ?? NaN) - began) / 1000;
  const memory = residentMemory(host.program.pid).now;
  say(entries, "listing a domain");
  const list = await timeList(host, entries);
  say(entries, "relaying");
  const relay = (messages = MESSAGES) => relayed({ host, sinks, load, messages });
  // A young process is slower, whatever its queue.
  await relay();
  const root = await server.pid();
  const costs: { host: number; database: number }[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const before = [cpuSeconds(host.program.pid), cpuSeconds(root)] as const;
    await relay();
    const cost = (seconds: number) => seconds * 1000 / MESSAGES;
    costs.push({
      host: cost(cpuSeconds(host.program.pid) - before[0]),
      database: cost(cpuSeconds(root) - before[1]),
    });
  }
  const { peak } = residentMemory(host.program.pid);
  if (Number(churn) > 0) await watchChurn(server, { entries, relay });
  return {
    ...{ first, memory, peak, list },
    host: median(costs.map(({ host }) => host)),
    database: median(costs.map(({ database }) => database)),
  };
}

interface Bench {
  readonly folder: Folder;
  readonly load: QuickLoad;
}

/** Fills the tables from files, and has the database count what is in them as it does by itself after a while. */
async function fill(
  server: PostgresServer,
  { folder, entries }: { readonly folder: Folder; readonly entries: number },
): Promise<void> {
  const copies: string[] = [];
  for (let at = 0; at < entries; at += ROWS_AT_ONCE) {
    const files = { entry: "", recipient: "", body: "" };
    for (let n = at; n < Math.min(at + ROWS_AT_ONCE, entries); n++) addRows(files, { n, entries });
    if (at === 0) addRows(files, { n: entries, entries, due: true });
    for (const [table, rows] of Object.entries(files)) {
      const path = await folder.write(`${table}-${at}`, rows);
      copies.push(`COPY mailapp.${table} (${COLUMNS[table as keyof typeof COLUMNS]}) FROM '${path}'`);
    }
  }
  await server.query(
    "queue1",
    `BEGIN; TRUNCATE mailapp.entry, mailapp.recipient, mailapp.body; ${copies.join(";")}; COMMIT`,
  );
  await server.query("queue1", "VACUUM ANALYZE");
  await server.query("queue1", "CHECKPOINT");
  for (const { name } of [...Deno.readDirSync(folder.path)]) {
    if (/^(?:entry|recipient|body)-\d+$/.test(name)) await Deno.remove(folder.at(name));
  }
}

const COLUMNS = {
  entry: "id, head, state, reverse_path, size, due_at",
  recipient: "entry, number, address, domain, status, next_at, settled",
  body: "entry, part, bytes",
};

/** The rows of an entry. */
function addRows(
  files: { entry: string; recipient: string; body: string },
  { n, entries, due = false }: { readonly n: number; readonly entries: number; readonly due?: boolean },
): void {
  const now = Date.now();
  const nextAttemptAt = due ? now - HOUR : Math.floor(now + 2 * HOUR + (2 * HOUR * n) / entries);
  const domain = due ? "due.example" : `d${n % DOMAINS}.example`;
  const { entry: { id, reversePath, recipients }, head, state } = waitingEntry(n, {
    ...{ domain, shard: "00" },
    due: nextAttemptAt,
  });
  const at = new Date(nextAttemptAt).toISOString();
  files.entry += row([id, head, state, reversePath, String(MESSAGE.length), at]);
  files.recipient += row([
    id,
    "0",
    recipients[0]?.address ?? "",
    domain,
    "pending",
    String(nextAttemptAt),
    "f",
  ]);
  files.body += row([id, "0", `\\x${MESSAGE.toHex()}`]);
}

/** A line of COPY's text format. */
function row(values: readonly string[]): string {
  const escaped = values.map((value) =>
    value.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll("\r", "\\r").replaceAll("\t", "\\t")
  );
  return `${escaped.join("\t")}\n`;
}

async function timeList({ config }: ServeOut, entries: number): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const began = performance.now();
    const args = ["queue", "list", "--config", config, "--domain", `d${LISTED}.example`];
    const listed = await runMailapp(args);
    times.push((performance.now() - began) / 1000);
    const found = Number(/^(\d+) messages?, /m.exec(listed.stdout)?.[1]);
    if (found !== Math.ceil((entries - LISTED) / DOMAINS)) {
      throw new Error(`queue list: ${found} messages\n${listed.stderr}`);
    }
  }
  return median(times);
}

async function relayed(
  { host, sinks, load, messages }: {
    readonly host: ServeOut;
    readonly sinks: Sinks;
    readonly load: QuickLoad;
    readonly messages: number;
  },
): Promise<void> {
  const expected = await sinks.count() + messages;
  await load({
    ...{ port: host.port, sessions: 20, messages, size: 4096 },
    recipient: "alice@bench.test",
  });
  const all = async () => await sinks.count() >= expected;
  await until(all, { what: "the last message", within: PATIENCE });
}

/** Lets messages pass, and tells the sizes of the tables meanwhile. */
async function watchChurn(
  server: PostgresServer,
  { entries, relay }: { readonly entries: number; readonly relay: (messages: number) => Promise<void> },
): Promise<void> {
  const began = Date.now();
  const end = began + Number(churn) * 60_000;
  const some = rate === undefined ? MESSAGES : Number(rate) * CHURN_EVERY / 1000;
  let passed = 0;
  for (let next = 0; Date.now() < end;) {
    if (Date.now() >= next) {
      const sizes = await server.query(
        "queue1",
        `SELECT relname, pg_table_size(relid) / 1048576.0 AS rows, pg_indexes_size(relid) / 1048576.0 AS indexes,
          n_dead_tup AS dead FROM pg_stat_user_tables
        WHERE schemaname = 'mailapp' AND relname IN ('entry', 'recipient', 'body', 'dot') ORDER BY relname`,
      );
      const cells = sizes.map(({ relname, rows, indexes, dead }) =>
        `${relname} ${figure(Number(rows))} + ${figure(Number(indexes))} MiB (${dead} dead rows)`
      );
      say(entries, `${passed} messages have passed: ${cells.join(", ")}`);
      next = Date.now() + 30_000;
    }
    await relay(some);
    passed += some;
    if (rate === undefined) continue;
    const wait = began + passed / Number(rate) * 1000 - Date.now();
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, wait)));
  }
}

function table(queues: readonly { readonly entries: number; readonly figures: Figures }[]): string {
  const base = queues[0]?.figures;
  const row = (title: string, value: (figures: Figures) => number) => [
    title,
    ...queues.map(({ figures }) => figure(value(figures))),
  ];
  return markdownTable([
    ["Deferred entries in PostgreSQL", ...queues.map(({ entries }) => entries.toLocaleString("en"))],
    row("from the start of serve-out to the first attempt, s", ({ first }) => first),
    row("resident memory then, MiB", ({ memory }) => memory / MIB),
    row("most resident memory, relaying included, MiB", ({ peak }) => peak / MIB),
    row("`queue list --domain`, s", ({ list }) => list),
    row("processor time of serve-out for a relayed message, ms", ({ host }) => host),
    row("processor time of the database for it, ms", ({ database }) => database),
    row(
      "both against the shortest queue",
      ({ host, database }) => (host + database) / ((base?.host ?? NaN) + (base?.database ?? NaN)),
    ),
  ]);
}

function say(entries: number, what: string): void {
  console.error(`${new Date().toISOString().slice(11, 19)} ${entries.toLocaleString("en")} entries: ${what}`);
}

await using folder = await makeFolder("long-shared-queue");
const load = await buildQuickLoad(folder);
const queues: { entries: number; figures: Figures }[] = [];
for (const entries of LENGTHS) queues.push({ entries, figures: await measure(entries, { folder, load }) });
console.log(table(queues));
