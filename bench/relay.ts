/**
 * How fast and at what cost serve-out and Postfix pass mail on, in turn: from the first connection of a client to the
 * last message at smtp-sink, through a durable queue, with a DNS server on the same machine.
 *
 * @module
 */
import { type Bind, startBind } from "../tests/support/peers/bind.ts";
import { type Folder, makeFolder } from "../tests/support/peers/folder.ts";
import { startServeOut } from "../tests/support/peers/mailapp.ts";
import { freePort, untilListening } from "../tests/support/peers/ports.ts";
import { startPostfix } from "../tests/support/peers/postfix.ts";
import { start, until } from "../tests/support/peers/process.ts";
import { serveArrivals } from "./arrivals.ts";
import { columnCells, columnTitles, CPU, MEMORY, P50, P99, rateCells } from "./comparison.ts";
import { sendOne } from "./load_client.ts";
import { costOf } from "./process_tree.ts";
import { buildQuickLoad, type QuickLoad } from "./quick_load.ts";
import { FAIR_POSTFIX, makePostfixLog, type ServerName, WARM_UP } from "./servers.ts";
import { startSinks } from "./sinks.ts";
import { figure, markdownTable } from "./statistics.ts";

/** One kind of load. */
export interface RelayScenario {
  /** For `--only`. */
  readonly name: string;
  readonly title: string;
  /** Destination domains, in turn; ten hosts take the mail of all of them, or one that of one. */
  readonly domains: number;
  readonly messages: number;
  /** Octets a message. */
  readonly size: number;
  /** The number of messages for a domain whose hosts accept connections and then say nothing. */
  readonly stalled?: number;
  /** One message at a time on an idle server, the time from its 250 to its end at the other side is measured. */
  readonly latency?: boolean;
}

/** All kinds of load, in the order of the table. */
export const RELAY_SCENARIOS: readonly RelayScenario[] = [
  { name: "relay-1", title: "4 KB, 1 domain", domains: 1, messages: 3000, size: 4096 },
  { name: "relay-100", title: "4 KB, 100 domains", domains: 100, messages: 3000, size: 4096 },
  { name: "relay-10k", title: "4 KB, 10,000 domains", domains: 10_000, messages: 10_000, size: 4096 },
  { name: "relay-100kb-1", title: "100 KB, 1 domain", domains: 1, messages: 1000, size: 102_400 },
  { name: "relay-100kb-100", title: "100 KB, 100 domains", domains: 100, messages: 1000, size: 102_400 },
  {
    name: "relay-stalled",
    title: "4 KB, 100 domains, beside one that stalls",
    domains: 100,
    messages: 3000,
    size: 4096,
    stalled: 200,
  },
  {
    name: "relay-latency",
    title: "one message at a time, idle server",
    domains: 1,
    messages: 200,
    size: 4096,
    latency: true,
  },
];

/** How much is measured. */
export interface RelayOptions {
  readonly scenarios: readonly RelayScenario[];
  readonly servers: readonly ServerName[];
  readonly rounds: number;
  /** Told what goes on. */
  readonly progress: (line: string) => void;
}

interface Measurement {
  /** Messages a second, from the first connection to the last message at the other side. */
  readonly rate: number;
  /** Processor milliseconds of the server a message. */
  readonly cpu: number;
  /** The most memory seen, bytes. */
  readonly memory: number;
  /** Milliseconds from the 250 of serve-out to the end of the data at the other side, ascending. */
  readonly latencies: readonly number[];
}

interface ServerUnderLoad extends AsyncDisposable {
  readonly port: number;
  readonly pid: number;
}

const HOSTS = Array.from({ length: 10 }, (_, index) => `127.0.1.${index + 1}`);
const STALLED_HOST = "127.0.2.1";
const DOMAINS = 10_000;
const COLUMNS = [CPU, MEMORY, P50, P99];

/** Runs the scenarios and returns the table. */
export async function benchRelay(options: RelayOptions): Promise<string> {
  await using folder = await makeFolder("bench-relay");
  const load = await buildQuickLoad(folder);
  // Postfix asks port 53 only.
  await using dns = await startBind({ "bench.test": zone() }, { port: 53 });
  const rows: string[][] = [];
  for (const scenario of options.scenarios) {
    const measured = await measureScenario(scenario, { ...options, folder, dns, load });
    const columns = columnCells(measured, { servers: options.servers, columns: COLUMNS });
    rows.push([scenario.title, ...rateCells(measured), ...columns]);
  }
  return markdownTable([
    [
      "Relayed messages a second",
      "mailapp",
      "Postfix",
      "ratio",
      ...columnTitles(options.servers, COLUMNS),
    ],
    ...rows,
  ]);
}

/** One domain with its own host, and many that share ten. */
function zone(): string {
  return [
    `stalled MX 10 stalled-host`,
    `stalled-host A ${STALLED_HOST}`,
    ...HOSTS.map((address, index) => `host${index} A ${address}`),
    ...Array.from({ length: DOMAINS }, (_, index) => `d${index + 1} MX 10 host${index % HOSTS.length}`),
  ].join("\n");
}

async function measureScenario(
  scenario: RelayScenario,
  context: RelayOptions & { folder: Folder; dns: Bind; load: QuickLoad },
): Promise<ReadonlyMap<ServerName, readonly Measurement[]>> {
  const { servers, rounds, progress, folder, dns } = context;
  const measured = new Map<ServerName, Measurement[]>(servers.map((name) => [name, []]));
  const smtpPort = freePort();
  await using stack = new AsyncDisposableStack();
  if (scenario.stalled) {
    stack.use(start("smtp-sink", {
      args: ["-u", "nobody", "-W", "ehlo:900", `inet:[${STALLED_HOST}]:${smtpPort}`, "1000"],
    }));
    await untilListening(smtpPort, STALLED_HOST);
  }
  for (let round = 0; round < rounds; round++) {
    for (const name of servers) {
      await using server = await startServer(name, { folder, dns, smtpPort });
      const measurement = scenario.latency
        ? await measureLatency(server, scenario, smtpPort)
        : await measureRate(server, scenario, { folder, smtpPort, load: context.load });
      measured.get(name)?.push(measurement);
      progress(
        `${scenario.title}, round ${round + 1}, ${name}: ${figure(measurement.rate)}/s, ` +
          `CPU ${figure(measurement.cpu)} ms`,
      );
    }
  }
  return measured;
}

async function startServer(
  name: ServerName,
  { folder, dns, smtpPort }: { folder: Folder; dns: Bind; smtpPort: number },
): Promise<ServerUnderLoad> {
  if (name === "mailapp") {
    const server = await startServeOut({
      dnsPort: dns.port,
      logFile: folder.at("serve-out.log"),
      settings: { smtp_port: smtpPort, max_connections_per_host: POSTFIX_CONCURRENCY },
    });
    return {
      port: server.port,
      pid: server.program.pid,
      async [Symbol.asyncDispose]() {
        await server[Symbol.asyncDispose]();
        await Deno.remove(folder.at("serve-out.log"));
      },
    };
  }
  const log = await makePostfixLog();
  const server = await startPostfix({
    dns: "127.0.0.1",
    settings: { ...FAIR_POSTFIX, maillog_file: log, smtp_tcp_port: String(smtpPort) },
  });
  return {
    port: server.port,
    pid: server.program.pid,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await Deno.remove(log);
    },
  };
}

/** Postfix's default_destination_concurrency_limit; both may have as many connections to a destination. */
const POSTFIX_CONCURRENCY = 20;

async function measureRate(
  server: ServerUnderLoad,
  scenario: RelayScenario,
  { folder, smtpPort, load }: { folder: Folder; smtpPort: number; load: QuickLoad },
): Promise<Measurement> {
  const { messages, domains, size, stalled } = scenario;
  const hosts = domains === 1 ? HOSTS.slice(0, 1) : HOSTS;
  await using sinks = await startSinks(folder, { port: smtpPort, hosts });
  const common = { port: server.port, sessions: 20, size };
  // What is compiled or started at first use is not what is measured.
  const warmUp = Math.min(4 * messages, WARM_UP);
  await load({ ...common, messages: warmUp, recipient: "alice@d1.bench.test" });
  await until(async () => await sinks.count() >= warmUp, { what: "the warm-up", within: 300_000 });
  if (stalled) await load({ ...common, messages: stalled, recipient: "alice@stalled.bench.test" });
  const { result: seconds, cpu, memory } = await costOf(server.pid, async () => {
    const begin = performance.now();
    await load({ ...common, messages, recipient: "alice@d{n}.bench.test", domains });
    await until(async () => await sinks.count() >= warmUp + messages, {
      what: "the last message",
      within: 300_000,
    });
    return (performance.now() - begin) / 1000;
  });
  return { rate: messages / seconds, cpu: cpu * 1000 / messages, memory, latencies: [] };
}

async function measureLatency(
  server: ServerUnderLoad,
  { messages, size }: RelayScenario,
  smtpPort: number,
): Promise<Measurement> {
  const [address = ""] = HOSTS;
  using listener = Deno.listen({ hostname: address, port: smtpPort });
  const arrivals: (() => void)[] = [];
  const serving = serveArrivals(listener, { arrived: () => arrivals.shift()?.() });
  const begin = performance.now();
  const { result: latencies, cpu, memory } = await costOf(server.pid, async () => {
    const latencies: number[] = [];
    for (let number = 0; number < messages; number++) {
      const { promise: arrived, resolve } = Promise.withResolvers<number>();
      arrivals.push(() => resolve(performance.now()));
      const accepted = await sendOne({
        host: "127.0.0.1",
        port: server.port,
        size,
        recipient: "alice@d1.bench.test",
      });
      // It may be there before the client has read its 250.
      latencies.push(Math.max(0, await arrived - accepted));
    }
    return latencies.sort((a, b) => a - b);
  });
  const seconds = (performance.now() - begin) / 1000;
  listener.close();
  await serving;
  return { rate: messages / seconds, cpu: cpu * 1000 / messages, memory, latencies };
}
