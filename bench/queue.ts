/**
 * What a queue in PostgreSQL costs beside the spool: mail accepted and relayed by one host with the spool, and by one,
 * two and four hosts with one database on the same disk. All of them run during the whole bench, are idle but for their
 * turn, and share the processors. Needs root, PostgreSQL, smtp-sink and gcc.
 *
 * @module
 */
import { type Folder, makeFolder } from "../tests/support/peers/folder.ts";
import { type ServeOut, startServeOut } from "../tests/support/peers/mailapp.ts";
import { freePort } from "../tests/support/peers/ports.ts";
import { until } from "../tests/support/peers/process.ts";
import { PostgresServer } from "../tests/support/postgres_server.ts";
import { costOf, cpuSeconds, residentMemory } from "./process_tree.ts";
import { buildQuickLoad, type QuickLoad } from "./quick_load.ts";
import { type Sinks, startSinks } from "./sinks.ts";
import { figure, markdownTable, median } from "./statistics.ts";

/** One kind of load. */
export interface QueueScenario {
  /** For `--only`. */
  readonly name: string;
  readonly title: string;
  /** Messages a round. */
  readonly messages: number;
  /** Octets a message. */
  readonly size: number;
  /** Connections of clients, to all hosts together. */
  readonly sessions: number;
}

/** All kinds of load. */
export const QUEUE_SCENARIOS: readonly QueueScenario[] = [
  { name: "queue-20", title: "4 KB, 20 kept connections", messages: 3000, size: 4096, sessions: 20 },
  { name: "queue-100", title: "4 KB, 100 kept connections", messages: 6000, size: 4096, sessions: 100 },
];

/** How much is measured. */
export interface QueueOptions {
  readonly scenarios: readonly QueueScenario[];
  readonly rounds: number;
  /** Told what goes on. */
  readonly progress: (line: string) => void;
}

interface Setup {
  readonly title: string;
  readonly hosts: readonly ServeOut[];
  readonly database: PostgresServer | undefined;
}

interface Round {
  /** Messages a second, from the first connection to the last message at the other side. */
  readonly rate: number;
  /** Processor milliseconds a message: of all hosts together, and of the database. */
  readonly hosts: number;
  readonly database: number;
}

/** Connections to the sink, over all hosts. */
const CONCURRENCY = 20;
/** Hosts on one database. */
const HOSTS = [1, 2, 4];
/** Messages before the first round, of each host. */
const WARM_UP = 1000;
const MIB = 1024 * 1024;

/** Settings of a server that has a machine to itself, but for what makes a commit durable, which stays as it is. */
export const DATABASE_SETTINGS = {
  shared_buffers: "256MB",
  max_connections: "200",
  max_wal_size: "4GB",
  checkpoint_timeout: "15min",
};

/** Runs the scenarios and returns the table. */
export async function benchQueue(options: QueueOptions): Promise<string> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await makeFolder("bench-queue"));
  const load = await buildQuickLoad(folder);
  const target = { address: sharedAddress(), port: freePort() };
  const sinks = stack.use(await startSinks(folder, { port: target.port, hosts: [target.address] }));
  const database = stack.use(await PostgresServer.start({ fsync: true, settings: DATABASE_SETTINGS }));
  const setups: Setup[] = [];
  for (const [index, count] of [0, ...HOSTS].entries()) {
    const url = count === 0 ? undefined : await database.newDatabase();
    const hosts: ServeOut[] = [];
    for (let host = 0; host < Math.max(1, count); host++) {
      hosts.push(stack.use(await startHost({ folder, name: `s${index}-${host}`, url, target })));
    }
    const title = count === 0 ? "spool" : `PostgreSQL, ${count} host${count === 1 ? "" : "s"}`;
    setups.push({ title, hosts, database: count === 0 ? undefined : database });
  }
  for (const setup of setups) {
    options.progress(`${setup.title}: warming up`);
    const messages = WARM_UP * setup.hosts.length;
    await relay(setup, { scenario: { messages, size: 4096, sessions: 20 }, load, sinks });
  }
  const rows: string[][] = [];
  for (const scenario of options.scenarios) {
    const rounds = await measure(setups, { ...options, scenario, load, sinks });
    rows.push(...tableRows(scenario, { setups, rounds }));
  }
  const memory = setups.map(({ title, hosts }) =>
    `${title}: ${hosts.map(({ program }) => figure(residentMemory(program.pid).peak / MIB)).join(", ")} MiB`
  );
  return markdownTable([[
    "Accepted and relayed",
    "queue",
    "a second",
    "of the spool",
    "serve-out: CPU ms a message",
    "database: CPU ms a message",
  ], ...rows]) + `\nMost memory of each host: ${memory.join("; ")}\n`;
}

async function measure(
  setups: readonly Setup[],
  { scenario, rounds, progress, load, sinks }: QueueOptions & {
    readonly scenario: QueueScenario;
    readonly load: QuickLoad;
    readonly sinks: Sinks;
  },
): Promise<ReadonlyMap<Setup, Round[]>> {
  const measured = new Map<Setup, Round[]>(setups.map((setup) => [setup, []]));
  for (let round = 0; round < rounds; round++) {
    for (const setup of setups) {
      const { database, hosts } = setup;
      const root = await database?.pid();
      const before = root === undefined ? 0 : cpuSeconds(root);
      const pids = hosts.map(({ program }) => program.pid);
      const { result: seconds, cpu } = await costOf(pids, () => relay(setup, { scenario, load, sinks }));
      const ofDatabase = root === undefined ? 0 : cpuSeconds(root) - before;
      const { messages } = scenario;
      const one = {
        rate: messages / seconds,
        hosts: cpu * 1000 / messages,
        database: ofDatabase * 1000 / messages,
      };
      measured.get(setup)?.push(one);
      progress(
        `${scenario.title}, round ${round + 1}, ${setup.title}: ${figure(one.rate)}/s, ` +
          `CPU ${figure(one.hosts)} + ${figure(one.database)} ms`,
      );
    }
  }
  return measured;
}

/** Sends messages to all hosts at once. @returns the seconds until all are at the other side */
async function relay(
  { hosts }: Setup,
  { scenario: { messages, size, sessions }, load, sinks }: {
    readonly scenario: Pick<QueueScenario, "messages" | "size" | "sessions">;
    readonly load: QuickLoad;
    readonly sinks: Sinks;
  },
): Promise<number> {
  const expected = await sinks.count() + messages;
  const began = performance.now();
  await Promise.all(hosts.map(({ port }) =>
    load({
      ...{ port, size, recipient: "alice@bench.test" },
      messages: messages / hosts.length,
      sessions: sessions / hosts.length,
    })
  ));
  const all = async () => await sinks.count() >= expected;
  await until(all, { what: "the last message", within: 120_000 });
  return (performance.now() - began) / 1000;
}

/** The rows of one scenario. */
function tableRows(
  { title }: QueueScenario,
  { setups, rounds }: {
    readonly setups: readonly Setup[];
    readonly rounds: ReadonlyMap<Setup, readonly Round[]>;
  },
): string[][] {
  const spool = rounds.get(setups[0] as Setup) ?? [];
  return setups.map((setup) => {
    const all = rounds.get(setup) ?? [];
    const rates = all.map(({ rate }) => rate);
    // Each with the spool's of the same round, as the machine changes from one to the next.
    const ratios = all.map(({ rate }, index) => rate / (spool[index]?.rate ?? NaN));
    return [
      title,
      setup.title,
      `${figure(median(rates))} (${figure(Math.min(...rates))} to ${figure(Math.max(...rates))})`,
      `${figure(median(ratios) * 100)} %`,
      figure(median(all.map(({ hosts }) => hosts))),
      figure(median(all.map(({ database }) => database))),
    ];
  });
}

/** Starts serve-out with the spool, or with the queue at `url`. */
export async function startHost(
  { folder, name, url, target, routes }: {
    readonly folder: Folder;
    readonly name: string;
    readonly url: string | undefined;
    /** Where all mail for bench.test goes. */
    readonly target: { readonly address: string; readonly port: number };
    /** Where other mail goes. */
    readonly routes?: Readonly<Record<string, string>>;
  },
): Promise<ServeOut> {
  const urlFile = url && await folder.write(`${name}.url`, `${url}\n`, { mode: 0o600 });
  return await startServeOut({
    hostname: `${name}.bench.test`,
    logFile: folder.at(`${name}.log`),
    settings: { max_connections_per_host: CONCURRENCY },
    routes: { "bench.test": `${target.address}:${target.port}`, ...routes },
    ...urlFile && { queue: { store: "postgres", url_file: urlFile, durability: "primary" } },
  });
}

/** An address of this machine; connections to loopback would not be counted over all hosts. */
export function sharedAddress(): string {
  const found = Deno.networkInterfaces().find(({ family, address }) =>
    family === "IPv4" && !address.startsWith("127.")
  );
  if (found === undefined) throw new Error("this machine has no address of IPv4 beside loopback");
  return found.address;
}
