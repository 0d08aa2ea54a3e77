/**
 * What `[serve-in] threads` brings and costs: serve-in with one thread and with several, pinned to one core and to two,
 * in turn. The client has the same cores as everything else, so its processor time is shown beside the server's; needs
 * taskset (util-linux) and a C compiler.
 *
 * ```sh
 * deno run -A --frozen bench/threads.ts [THREADS [ROUNDS [MESSAGES [SESSIONS]]]]
 * ```
 *
 * @module
 */
import { makeFolder } from "../tests/support/peers/folder.ts";
import { startServeIn } from "../tests/support/peers/mailapp.ts";
import { beginCost, compareOnCores, type Measured, pin } from "./on_cores.ts";
import { buildQuickLoad } from "./quick_load.ts";
import { HOSTNAME, RECIPIENT } from "./server_under_load.ts";

const [threads = 2, rounds = 3, messages = 6000, sessions = 40] = Deno.args.map(Number);

await using folder = await makeFolder("threads");
const load = await buildQuickLoad(folder);

async function measure(count: number, cores: string): Promise<Measured<"rate">> {
  await using server = await startServeIn({
    hostname: HOSTNAME,
    domains: ["bench.test"],
    users: ["alice"],
    logFile: folder.at(`log-${crypto.randomUUID()}`),
    settings: { threads: count, max_connections_per_ip: 1000 },
  });
  const { pid } = server.program;
  await pin(pid, cores);
  const options = { port: server.port, sessions, size: 4096, recipient: RECIPIENT };
  // To each thread, so that none compiles more than others while it is measured.
  await load({ ...options, messages: 2000 * count });
  const cost = beginCost(pid);
  const begin = performance.now();
  await load({ ...options, messages });
  const seconds = (performance.now() - begin) / 1000;
  cost.clientEnded();
  return {
    rate: messages / seconds,
    ...cost.end(messages),
  };
}

const titles = { rate: "messages a second" };
console.log(await compareOnCores({ server: "serve-in", threads, rounds, titles, measure }));
