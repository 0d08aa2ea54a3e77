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
import { beginCost, compareOnCores, type Measured, pin } from "./on_cores.ts";
import { buildQuickLoad } from "./quick_load.ts";
import { startSinks } from "./sinks.ts";

const [threads = 2, rounds = 3, messages = 4000, sessions = 40] = Deno.args.map(Number);
const HOST = "127.0.0.1";

await using folder = await makeFolder("intake-threads");
const load = await buildQuickLoad(folder);
const port = freePort();
await using sinks = await startSinks(folder, { port, hosts: [HOST] });

async function untilArrived(count: number): Promise<void> {
  while (await sinks.count() < count) await new Promise((resolve) => setTimeout(resolve, 20));
}

async function measure(count: number, cores: string): Promise<Measured<"accepted" | "relayed">> {
  await using server = await startServeOut({
    routes: { "*": `${HOST}:${port}` },
    logFile: folder.at(`log-${crypto.randomUUID()}`),
    settings: { threads: count, max_connections_per_host: 20 },
  });
  const { pid } = server.program;
  await pin(pid, cores);
  const options = { port: server.port, sessions, size: 4096, recipient: "alice@bench.test" };
  // To each thread, so that none compiles more than others while it is measured.
  const warming = 2000 * count;
  const before = await sinks.count();
  await load({ ...options, messages: warming });
  await untilArrived(before + warming);
  const cost = beginCost(pid);
  const begin = performance.now();
  await load({ ...options, messages });
  const accepted = performance.now() - begin;
  cost.clientEnded();
  await untilArrived(before + warming + messages);
  const relayed = performance.now() - begin;
  return {
    accepted: messages * 1000 / accepted,
    relayed: messages * 1000 / relayed,
    ...cost.end(messages),
  };
}

const titles = { accepted: "accepted a second", relayed: "relayed a second" };
console.log(await compareOnCores({ server: "serve-out", threads, rounds, titles, measure }));
