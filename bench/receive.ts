/**
 * How fast and at what cost serve-in and Postfix take mail, in turn, with the disk's own limit beside them.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { V8_FLAGS } from "../build/v8_flags.ts";
import { createTestAuthority } from "../tests/support/test_authority.ts";
import { type Folder, makeFolder } from "../tests/support/peers/folder.ts";
import { freePort } from "../tests/support/peers/ports.ts";
import { runOk, startUntil } from "../tests/support/peers/process.ts";
import { smtpSource } from "../tests/support/peers/smtp_tools.ts";
import { buildC } from "./build_c.ts";
import { columnCells, columnTitles, CPU, MEMORY, P50, P99 } from "./comparison.ts";
import { type LoadReport, runLoadClient } from "./load_client.ts";
import {
  HOSTNAME,
  measure,
  type Measurement,
  RECIPIENT,
  type ServerUnderLoad,
  startOurs,
  startTheirs,
} from "./server_under_load.ts";
import { BARE, type ServerName, WARM_UP } from "./servers.ts";
import { figure, markdownTable, median } from "./statistics.ts";

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

interface Results {
  readonly scenario: Scenario;
  readonly disk: readonly number[];
  readonly servers: ReadonlyMap<Measured, readonly Measurement[]>;
}

const COLUMNS = [CPU, MEMORY, P50, P99];

type Measured = ServerName | typeof BARE;

// Octets from which a message takes long enough to warm up with few; what bare_server.ts takes is smaller.
const LARGE = 64 * 1024;

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
  const load = (server: ServerUnderLoad, what: Scenario) =>
    measure(server, {
      ...context,
      messages: what.messages,
      send: () => sendLoad(server.port, what, context),
    });
  for (const server of running.values()) await load(server, warmUp);

  const disk: number[] = [];
  const measured = new Map<Measured, Measurement[]>(servers.map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    disk.push(await measureDisk(scenario, context));
    for (const [name, server] of running) {
      const measurement = await load(server, scenario);
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
  return name === "mailapp" ? await startOurs({ certificate }) : await startTheirs({ certificate });
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

async function sendLoad(
  port: number,
  scenario: Scenario,
  { authority }: { readonly authority: string },
): Promise<LoadReport> {
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
    ...columnTitles(servers, COLUMNS),
  ];
  const rows = results.map(({ scenario, servers: measured }) => [
    scenario.title,
    ...columnCells(measured, { servers, columns: COLUMNS }),
  ]);
  return markdownTable([head, ...rows]);
}
