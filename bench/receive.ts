/**
 * How fast and at what cost serve-in and Postfix take mail, in turn, with the disk's own limit beside them.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { V8_FLAGS } from "../build/v8_flags.ts";
import { createTestAuthority } from "../tests/support/test_authority.ts";
import { type Folder, makeFolder } from "../tests/support/peers/folder.ts";
import { startServeIn } from "../tests/support/peers/mailapp.ts";
import { startPostfix } from "../tests/support/peers/postfix.ts";
import { freePort } from "../tests/support/peers/ports.ts";
import { runOk, startUntil, until } from "../tests/support/peers/process.ts";
import { smtpSource } from "../tests/support/peers/smtp_tools.ts";
import { buildC } from "./build_c.ts";
import { type LoadReport, runLoadClient } from "./load_client.ts";
import { costOf } from "./process_tree.ts";
import { BARE, FAIR_POSTFIX, makePostfixLog, type ServerName, WARM_UP } from "./servers.ts";
import { figure, markdownTable, median, percentile } from "./statistics.ts";

/** One kind of load. */
export interface Scenario {
  /** For `--only`. */
  readonly name: string;
  readonly title: string;
  /** `latency` and `tls` are sent by our own client, which measures each message; `source` by smtp-source. */
  readonly load: "source" | "latency" | "tls";
  readonly sessions: number;
  readonly messages: number;
  /** Octets a message. */
  readonly size: number;
  /** Many messages over a connection. */
  readonly keep: boolean;
}

const KB4 = { size: 4096, keep: false };
const MB25 = { size: 25 * 1024 * 1024, keep: false, load: "source" } as const;
const KEPT = { size: 4096, keep: true, load: "source" } as const;

/** All kinds of load, in the order of the tables. */
export const SCENARIOS: readonly Scenario[] = [
  { name: "1", title: "1 session", load: "source", sessions: 1, messages: 500, ...KB4 },
  { name: "20", title: "20 sessions", load: "source", sessions: 20, messages: 3000, ...KB4 },
  { name: "100", title: "100 sessions", load: "source", sessions: 100, messages: 3000, ...KB4 },
  { name: "1-kept", title: "1 kept connection", sessions: 1, messages: 500, ...KEPT },
  { name: "20-kept", title: "20 kept connections", sessions: 20, messages: 3000, ...KEPT },
  { name: "100-kept", title: "100 kept connections", sessions: 100, messages: 3000, ...KEPT },
  { name: "latency-1", title: "1 session, our client", load: "latency", sessions: 1, messages: 500, ...KB4 },
  {
    name: "latency-20",
    title: "20 sessions, our client",
    load: "latency",
    sessions: 20,
    messages: 2000,
    ...KB4,
  },
  {
    name: "latency-100",
    title: "100 sessions, our client",
    load: "latency",
    sessions: 100,
    messages: 2000,
    ...KB4,
  },
  { name: "tls-1", title: "1 session, STARTTLS", load: "tls", sessions: 1, messages: 300, ...KB4 },
  { name: "tls-20", title: "20 sessions, STARTTLS", load: "tls", sessions: 20, messages: 1500, ...KB4 },
  { name: "25mb-1", title: "25 MB, one at a time", sessions: 1, messages: 10, ...MB25 },
  { name: "25mb-20", title: "25 MB, 20 at once", sessions: 20, messages: 20, ...MB25 },
];

/** How much is measured. */
export interface ReceiveOptions {
  readonly scenarios: readonly Scenario[];
  readonly servers: readonly ServerName[];
  /** Whether to measure the least that Deno can do, too. */
  readonly bare: boolean;
  readonly rounds: number;
  /** Told what goes on. */
  readonly progress: (line: string) => void;
}

/** One round of one server. */
interface Measurement {
  /** Messages a second up to the last 250. */
  readonly accepted: number;
  /** Messages a second until all are in the Maildir. */
  readonly stored: number;
  /** Processor time of the server and all its processes until all are in the Maildir, milliseconds a message. */
  readonly cpu: number;
  /** The most memory seen, bytes. */
  readonly memory: number;
  /** From connecting to the 250, milliseconds, ascending. */
  readonly latencies: readonly number[];
}

interface ServerUnderLoad extends AsyncDisposable {
  readonly port: number;
  readonly pid: number;
  /** Where the messages land. */
  readonly maildir: string;
}

interface Results {
  readonly scenario: Scenario;
  readonly disk: readonly number[];
  readonly servers: ReadonlyMap<Measured, readonly Measurement[]>;
}

type Measured = ServerName | typeof BARE;

// Octets from which a message takes long enough to warm up with few; what bare_server.ts takes is smaller.
const LARGE = 64 * 1024;
const RECIPIENT = "alice@bench.test";
const HOSTNAME = "mx.bench.test";

/** Runs the scenarios and returns the tables. */
export async function benchReceive(options: ReceiveOptions): Promise<string> {
  await using folder = await makeFolder("bench");
  const diskLimit = await buildC("disk_limit", folder);
  const authority = await createTestAuthority();
  const leaf = await authority.issue({ names: [HOSTNAME] });
  await folder.write("cert.pem", leaf.cert);
  await folder.write("key.pem", leaf.key, { mode: 0o600 });

  const results: Results[] = [];
  for (const scenario of options.scenarios) {
    results.push(
      await measureScenario(scenario, { ...options, folder, diskLimit, authority: authority.cert }),
    );
  }
  return `${throughputTable(results, options)}\n${costTable(results, options)}`;
}

async function measureScenario(
  scenario: Scenario,
  context: ReceiveOptions & { folder: Folder; diskLimit: string; authority: string },
): Promise<Results> {
  const { rounds, progress } = context;
  // It speaks no TLS, and takes nothing large.
  const bare = context.bare && scenario.load !== "tls" && scenario.size < LARGE;
  const servers = measuredServers({ ...context, bare });
  await using stack = new AsyncDisposableStack();
  const running = new Map<Measured, ServerUnderLoad>();
  for (const name of servers) running.set(name, stack.use(await startServer(name, context.folder)));

  // What is compiled or opened at first use is not what is measured.
  const enough = scenario.size < LARGE ? WARM_UP : Math.max(20, scenario.sessions);
  const warmUp = { ...scenario, messages: Math.min(4 * scenario.messages, enough) };
  for (const server of running.values()) await measure(server, warmUp, context);

  const disk: number[] = [];
  const measured = new Map<Measured, Measurement[]>(servers.map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    disk.push(await measureDisk(scenario, context));
    for (const [name, server] of running) {
      const measurement = await measure(server, scenario, context);
      measured.get(name)?.push(measurement);
      progress(
        `${scenario.title}, round ${round + 1}, ${name}: ${figure(measurement.accepted)}/s, ` +
          `CPU ${figure(measurement.cpu)} ms, disk alone ${figure(disk.at(-1))}/s`,
      );
    }
  }
  return { scenario, disk, servers: measured };
}

function measuredServers({ servers, bare }: ReceiveOptions): readonly Measured[] {
  return bare ? [...servers, BARE] : servers;
}

async function startServer(name: Measured, folder: Folder): Promise<ServerUnderLoad> {
  if (name === BARE) return await startBare(folder);
  const certificate = { cert: folder.at("cert.pem"), key: folder.at("key.pem") };
  if (name === "mailapp") {
    const server = await startServeIn({
      hostname: HOSTNAME,
      domains: ["bench.test"],
      users: ["alice"],
      certificate,
      logFile: folder.at("serve-in.log"),
      settings: { max_connections_per_ip: 1000 },
    });
    return {
      port: server.port,
      pid: server.program.pid,
      maildir: server.maildir(RECIPIENT),
      async [Symbol.asyncDispose]() {
        await server[Symbol.asyncDispose]();
        await Deno.remove(folder.at("serve-in.log"));
      },
    };
  }
  const log = await makePostfixLog();
  const server = await startPostfix({
    mailboxes: [RECIPIENT],
    certificate,
    settings: { ...FAIR_POSTFIX, maillog_file: log },
  });
  return {
    port: server.port,
    pid: server.program.pid,
    maildir: server.maildir(RECIPIENT),
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await Deno.remove(log);
    },
  };
}

async function startBare(folder: Folder): Promise<ServerUnderLoad> {
  const port = freePort();
  const maildir = await folder.mkdir(`bare-${port}`);
  for (const name of ["tmp", "new"]) await Deno.mkdir(`${maildir}/${name}`);
  const mayTouch = [`--allow-read=${folder.path}`, `--allow-write=${folder.path}`, "--allow-net=127.0.0.1"];
  const script = fileURLToPath(new URL("bare_server.ts", import.meta.url));
  const program = await startUntil(Deno.execPath(), {
    args: ["run", "--frozen", `--v8-flags=${V8_FLAGS}`, ...mayTouch, script, String(port), maildir],
    ready: ({ line }) => line(/^ready$/),
  });
  return { port, pid: program.pid, maildir, [Symbol.asyncDispose]: () => program.stop() };
}

async function measure(
  server: ServerUnderLoad,
  scenario: Scenario,
  { folder, authority }: { readonly folder: Folder; readonly authority: string },
): Promise<Measurement> {
  const { messages } = scenario;
  const { result, cpu, memory } = await costOf(server.pid, async () => {
    const begin = performance.now();
    const report = await sendLoad(server.port, scenario, authority);
    // Our client, a program of its own, takes time to start, which is nobody's fault.
    const startUp = (performance.now() - begin) / 1000 - report.seconds;
    await untilStored(server.maildir, messages);
    return { ...report, storedSeconds: (performance.now() - begin) / 1000 - startUp };
  });
  await empty(server.maildir, folder);
  return {
    accepted: messages / result.seconds,
    stored: messages / result.storedSeconds,
    cpu: cpu * 1000 / messages,
    memory,
    latencies: result.latencies,
  };
}

async function sendLoad(port: number, scenario: Scenario, authority: string): Promise<LoadReport> {
  const { sessions, messages, size, keep } = scenario;
  if (scenario.load === "source") {
    const ms = await smtpSource({ port, to: RECIPIENT, sessions, messages, size, keep, within: 600_000 });
    return { messages, seconds: ms / 1000, latencies: [] };
  }
  return await runLoadClient({
    host: "127.0.0.1",
    port,
    sessions,
    messages,
    size,
    keep,
    recipient: RECIPIENT,
    ...(scenario.load === "tls" ? { tls: { authority, name: HOSTNAME } } : {}),
  });
}

async function untilStored(maildir: string, messages: number): Promise<void> {
  await until(() => {
    try {
      return [...Deno.readDirSync(`${maildir}/new`)].length >= messages;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return false;
      throw error;
    }
  }, { what: `${messages} messages in ${maildir}`, within: 600_000 });
}

/**
 * Moves the messages away and lets the disk come to rest, so that the next round does not pay for it. They are not
 * removed before the end, since ext4 goes a long way round inodes that were freed in the last minutes.
 */
async function empty(maildir: string, folder: Folder): Promise<void> {
  const attic = await Deno.makeTempDir({ dir: folder.path, prefix: "stored-" });
  for await (const { name } of Deno.readDir(`${maildir}/new`)) {
    await Deno.rename(`${maildir}/new/${name}`, `${attic}/${name}`);
  }
  await runOk("sync");
}

async function measureDisk(
  { sessions, messages, size }: Scenario,
  { folder, diskLimit }: { folder: Folder; diskLimit: string },
): Promise<number> {
  const directory = await Deno.makeTempDir({ dir: folder.path, prefix: "disk-" });
  const rate = await runOk(diskLimit, {
    args: [directory, ...[sessions, messages, size].map(String)],
    within: 600_000,
  });
  await runOk("sync");
  return Number(rate);
}

function throughputTable(results: readonly Results[], { servers, bare }: ReceiveOptions): string {
  const rows = results.map(({ scenario, disk, servers: measured }) => {
    const of = (name: Measured, what: "accepted" | "stored") =>
      median(measured.get(name)?.map((measurement) => measurement[what]) ?? []);
    const ours = of("mailapp", "accepted");
    const theirs = of("Postfix", "accepted");
    const diskLimit = median(disk);
    return [
      scenario.title,
      figure(diskLimit),
      figure(ours),
      figure(theirs),
      `${figure(ours / theirs)} ×`,
      figure(of("Postfix", "stored")),
      `${figure(100 * ours / diskLimit)} %`,
      ...bare ? [figure(of(BARE, "accepted")), `${figure(of(BARE, "accepted") / theirs)} ×`] : [],
    ];
  });
  const head = [
    "Messages a second",
    "disk alone",
    "mailapp",
    "Postfix, accepted",
    "ratio",
    "Postfix, in the Maildir",
    "mailapp of the disk's limit",
    ...bare ? [BARE, `${BARE} to Postfix`] : [],
  ];
  return servers.length === 0 ? "" : markdownTable([head, ...rows]);
}

function costTable(results: readonly Results[], options: ReceiveOptions): string {
  const servers = measuredServers(options);
  const head = [
    "Cost",
    ...servers.flatMap((name) => [
      `${name}: CPU ms a message`,
      `${name}: memory MiB`,
      `${name}: p50 ms`,
      `${name}: p99 ms`,
    ]),
  ];
  const rows = results.map(({ scenario, servers: measured }) => [
    scenario.title,
    ...servers.flatMap((name) => {
      const rounds = measured.get(name) ?? [];
      return [
        median(rounds.map(({ cpu }) => cpu)),
        Math.max(...rounds.map(({ memory }) => memory)) / 1024 / 1024,
        median(rounds.map(({ latencies }) => percentile(latencies, 50))),
        median(rounds.map(({ latencies }) => percentile(latencies, 99))),
      ].map(figure);
    }),
  ]);
  return markdownTable([head, ...rows]);
}
