/**
 * A server with one thread and with several, pinned to one core and to two, in turn: what threads.ts and
 * intake_threads.ts have in common.
 *
 * @module
 */
import { runOk } from "../tests/support/peers/process.ts";
import { cpuSeconds, memoryBytes } from "./process_tree.ts";
import { figure, markdownTable, median } from "./statistics.ts";

const CORES = { one: "0", two: "0,1" };

/** What a load costs. */
export interface Cost {
  /** Processor time of the server, milliseconds a message. */
  readonly server: number;
  /** Processor time of the client, milliseconds a message. */
  readonly client: number;
  /** Memory of the server at the end, MiB. */
  readonly memory: number;
}

/** The cost, and each rate by its name. */
export type Measured<Rate extends string> = Cost & Readonly<Record<Rate, number>>;

/** How servers are compared. */
export interface CoresOptions<Rate extends string> {
  /** The server, for the table. */
  readonly server: string;
  /** How many threads, beside one. */
  readonly threads: number;
  /** Measurements of each row. */
  readonly rounds: number;
  /** What is measured beside the cost, with the title of its column. */
  readonly titles: Readonly<Record<Rate, string>>;
  /** Starts a server with so many threads on these cores (as taskset names them), and loads it. */
  readonly measure: (threads: number, cores: string) => Promise<Measured<Rate>>;
}

/** Measures all of it, and returns the table, of medians. */
export async function compareOnCores<Rate extends string>(
  { server, threads, rounds, titles, measure }: CoresOptions<Rate>,
): Promise<string> {
  const rows = [
    { name: "1 thread, 1 core", count: 1, cores: CORES.one },
    { name: `${threads} threads, 1 core`, count: threads, cores: CORES.one },
    { name: "1 thread, 2 cores", count: 1, cores: CORES.two },
    { name: `${threads} threads, 2 cores`, count: threads, cores: CORES.two },
  ];
  const runs = rows.map(() => [] as Measured<Rate>[]);
  for (let round = 0; round < rounds; round++) {
    for (const [index, { count, cores }] of rows.entries()) runs[index]?.push(await measure(count, cores));
  }
  const rates = Object.keys(titles) as Rate[];
  return markdownTable([
    [
      server,
      ...rates.map((rate) => titles[rate]),
      "for each second of its processor time",
      "client, ms a message",
      "MiB",
    ],
    ...rows.map(({ name }, index) => {
      const of = (part: (run: Measured<Rate>) => number) => median((runs[index] ?? []).map(part));
      return [
        name,
        ...rates.map((rate) => figure(of((run) => run[rate]))),
        figure(1000 / of(({ server }) => server)),
        figure(of(({ client }) => client)),
        figure(of(({ memory }) => memory)),
      ];
    }),
  ]);
}

/** Keeps all threads of a process to these cores. */
export async function pin(pid: number, cores: string): Promise<void> {
  await runOk("taskset", { args: ["-apc", cores, String(pid)] });
}

/** Begins to measure what messages cost. `clientEnded` is called when the client has ended, `end` when all is done. */
export function beginCost(
  pid: number,
): { readonly clientEnded: () => void; readonly end: (messages: number) => Cost } {
  const [server, client] = [cpuSeconds(pid), childSeconds()];
  let ended = client;
  return {
    clientEnded: () => ended = childSeconds(),
    end: (messages) => ({
      server: (cpuSeconds(pid) - server) * 1000 / messages,
      client: (ended - client) * 1000 / messages,
      memory: memoryBytes(pid) / 1024 ** 2,
    }),
  };
}

/** Processor seconds of this process's children that have ended: of the client. */
function childSeconds(): number {
  const text = Deno.readTextFileSync("/proc/self/stat");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ").map(Number);
  return ((fields[13] ?? 0) + (fields[14] ?? 0)) / 100;
}
