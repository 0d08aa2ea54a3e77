/**
 * What `[serve-out] threads` brings and costs: serve-out with one thread and with several, pinned to one core and to two,
 * in turn, which relays everything to smtp-sink. Client and sink have the same cores as everything else, so their
 * processor time is shown beside the server's; needs taskset (util-linux), Postfix's smtp-sink and a C compiler.
 *
 * ```sh
 * deno run -A --frozen bench/intake_threads.ts [THREADS [ROUNDS [MESSAGES [SESSIONS]]]]
 * ```
 *
 * @module
 */
import { makeFolder } from "../tests/support/peers/folder.ts";
import { startServeOut } from "../tests/support/peers/mailapp.ts";
import { freePort } from "../tests/support/peers/ports.ts";
import { runOk } from "../tests/support/peers/process.ts";
import { cpuSeconds, memoryBytes } from "./process_tree.ts";
import { buildQuickLoad } from "./quick_load.ts";
import { startSinks } from "./sinks.ts";
import { figure, markdownTable, median } from "./statistics.ts";

const [threads = 2, rounds = 3, messages = 4000, sessions = 40] = Deno.args.map(Number);
const CORES = { one: "0", two: "0,1" };
const HOST = "127.0.0.1";

interface Run {
  /** Messages a second until the last one was accepted. */
  readonly accepted: number;
  /** Messages a second until the last one had arrived. */
  readonly relayed: number;
  /** Processor time of the server, milliseconds a message. */
  readonly server: number;
  /** Processor time of the client, milliseconds a message. */
  readonly client: number;
  /** Memory of the server at the end, MiB. */
  readonly memory: number;
}

await using folder = await makeFolder("intake-threads");
const load = await buildQuickLoad(folder);
const port = freePort();
await using sinks = await startSinks(folder, { port, hosts: [HOST] });

/** Processor seconds of this process's children that have ended: of the client. */
function childSeconds(): number {
  const text = Deno.readTextFileSync("/proc/self/stat");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ").map(Number);
  return ((fields[13] ?? 0) + (fields[14] ?? 0)) / 100;
}

async function untilArrived(count: number): Promise<void> {
  while (await sinks.count() < count) await new Promise((resolve) => setTimeout(resolve, 20));
}

async function measure(count: number, cores: string): Promise<Run> {
  await using server = await startServeOut({
    routes: { "*": `${HOST}:${port}` },
    logFile: folder.at(`log-${crypto.randomUUID()}`),
    settings: { threads: count, max_connections_per_host: 20 },
  });
  const { pid } = server.program;
  await runOk("taskset", { args: ["-apc", cores, String(pid)] });
  const options = { port: server.port, sessions, size: 4096, recipient: "alice@bench.test" };
  // To each thread, so that none compiles more than others while it is measured.
  const warming = 2000 * count;
  const before = await sinks.count();
  await load({ ...options, messages: warming });
  await untilArrived(before + warming);
  const [cpu, own, begin] = [cpuSeconds(pid), childSeconds(), performance.now()];
  await load({ ...options, messages });
  const accepted = performance.now() - begin;
  const client = childSeconds() - own;
  await untilArrived(before + warming + messages);
  const relayed = performance.now() - begin;
  return {
    accepted: messages * 1000 / accepted,
    relayed: messages * 1000 / relayed,
    server: (cpuSeconds(pid) - cpu) * 1000 / messages,
    client: client * 1000 / messages,
    memory: memoryBytes(pid) / 1024 ** 2,
  };
}

const rows = [
  { name: "1 thread, 1 core", count: 1, cores: CORES.one },
  { name: `${threads} threads, 1 core`, count: threads, cores: CORES.one },
  { name: "1 thread, 2 cores", count: 1, cores: CORES.two },
  { name: `${threads} threads, 2 cores`, count: threads, cores: CORES.two },
];
const runs = rows.map(() => [] as Run[]);
for (let round = 0; round < rounds; round++) {
  for (const [index, { count, cores }] of rows.entries()) runs[index]?.push(await measure(count, cores));
}
const head = [
  "serve-out",
  "accepted a second",
  "relayed a second",
  "for each second of its processor time",
  "client, ms a message",
  "MiB",
];
console.log(markdownTable([
  head,
  ...rows.map(({ name }, index) => {
    const of = (part: (run: Run) => number) => median((runs[index] ?? []).map(part));
    return [
      name,
      figure(of(({ accepted }) => accepted)),
      figure(of(({ relayed }) => relayed)),
      figure(1000 / of(({ server }) => server)),
      figure(of(({ client }) => client)),
      figure(of(({ memory }) => memory)),
    ];
  }),
]));
