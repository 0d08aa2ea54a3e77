/**
 * What a serve-in costs that has little to do: `deno run -A --frozen bench/idle.ts [--connections N] [--seconds N]
 * [FILE]`, by default 10,000 connections, a minute, and dist/mailapp. With nothing to do, with the settings as shipped:
 * memory and processor time. Then with connections that say EHLO, every other one, and nothing more, over TLS too:
 * memory, and the time of a new client's whole message beside them.
 *
 * Needs 2.2 descriptors for each connection (`ulimit -n`).
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type IdleClients, stayIdle } from "./idle_clients.ts";
import { cpuSeconds, residentMemory } from "./process_tree.ts";
import { figure, markdownTable, percentile } from "./statistics.ts";

const HONEST_CLIENT = fileURLToPath(new URL("../tests/abuse/honest_client.ts", import.meta.url));
const PORT = 2597;
const TLS_PORT = 2598;
const PATIENCE = 60_000;
const MESSAGES = 300;
const MIB = 1024 * 1024;

const { values, positionals: [program = "dist/mailapp"] } = parseArgs({
  args: Deno.args,
  options: {
    connections: { type: "string", default: "10000" },
    seconds: { type: "string", default: "60" },
  },
  allowPositionals: true,
});
const connections = Number(values.connections);
const seconds = Number(values.seconds);

/** A running serve-in, in a folder of its own. */
interface ServeIn extends AsyncDisposable {
  readonly pid: number;
  readonly folder: string;
}

const cache = await Deno.makeTempDir({ prefix: "mailapp-idle-" });

async function start({ checks }: { readonly checks: boolean }): Promise<ServeIn> {
  const folder = await Deno.makeTempDir({ prefix: "mailapp-idle-" });
  const config = `${folder}/config.toml`;
  const noChecks = `checks = { spf = false, dkim = false, arc = false, dmarc = "off" }`;
  await Deno.writeTextFile(
    config,
    `hostname = "mx.idle.test"
data_dir = "${folder}/data"
tls = { self_signed = true }
mailboxes = { path = "${folder}/mail/{user}", users = ["alice"], aliases = { postmaster = "alice" } }

[serve-in]
listen = ["127.0.0.1"]
port = ${PORT}
tls_port = ${TLS_PORT}
domains = ["idle.test"]
max_connections = ${connections + 100}
max_connections_per_ip = ${connections + 100}
# No client is ended while the others connect.
idle_timeout = "1h"
${checks ? "" : noChecks}
`,
  );
  const process = new Deno.Command(program, {
    args: ["serve-in", "--config", config],
    clearEnv: true,
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", MAILAPP_CACHE: cache },
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const server: ServeIn = {
    pid: process.pid,
    folder,
    async [Symbol.asyncDispose]() {
      process.kill("SIGKILL");
      await process.status;
      await Deno.remove(folder, { recursive: true });
    },
  };
  for (const deadline = performance.now() + PATIENCE;;) {
    try {
      using conn = await Deno.connect({ hostname: "127.0.0.1", port: PORT });
      if (await conn.read(new Uint8Array(512)) !== null) return server;
    } catch (error) {
      if (!(error instanceof Deno.errors.ConnectionRefused) || performance.now() > deadline) {
        await server[Symbol.asyncDispose]();
        throw error;
      }
    }
    await sleep(20);
  }
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Milliseconds of each message of a new client, from connecting to the 250 after its data, ascending. */
async function newClients(): Promise<readonly number[]> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--frozen", "--no-check", HONEST_CLIENT, `${PORT}`, `${MESSAGES}`, "alice@idle.test"],
    stdin: "null",
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}

/** Processor time from now on, in percent of a core. */
async function share(pid: number): Promise<number> {
  const [before, began] = [cpuSeconds(pid), performance.now()];
  await sleep(seconds * 1000);
  return 100 * (cpuSeconds(pid) - before) / ((performance.now() - began) / 1000);
}

type Row = readonly string[];

async function nothingToDo(): Promise<Row> {
  await using server = await start({ checks: true });
  // What the start left to be done.
  await sleep(2000);
  const busy = await share(server.pid);
  const { now, peak } = residentMemory(server.pid);
  return [
    "nothing to do, all as shipped",
    ...[now, peak].map((octets) => figure(octets / MIB)),
    `${figure(busy)} %`,
    "–",
    "–",
  ];
}

async function withConnections(
  title: string,
  connect: (server: ServeIn) => Promise<IdleClients>,
): Promise<Row> {
  await using server = await start({ checks: false });
  // The first messages load and compile code.
  await newClients();
  await using _clients = await connect(server);
  await sleep(2000);
  const open = residentMemory(server.pid);
  const latencies = await newClients();
  const busy = await share(server.pid);
  const later = residentMemory(server.pid);
  return [
    title,
    `${figure(open.now / MIB)}, then ${figure(later.now / MIB)}`,
    figure(later.peak / MIB),
    `${figure(busy)} %`,
    figure(percentile(latencies, 50)),
    figure(latencies.at(-1)),
  ];
}

const count = connections.toLocaleString("en");
const rows: Row[] = [
  [
    "serve-in with",
    "memory, MiB",
    "the most, MiB",
    "of a core",
    "a new client: median, ms",
    "the slowest, ms",
  ],
];
const plain = () => stayIdle({ port: PORT, connections, tls: false });
const secure = () => stayIdle({ port: TLS_PORT, connections, tls: true });
try {
  // It unpacks itself.
  await (await start({ checks: true }))[Symbol.asyncDispose]();
  for (
    const row of [
      nothingToDo,
      () =>
        withConnections(
          "no connections, after 300 messages",
          () => stayIdle({ port: PORT, connections: 0, tls: false }),
        ),
      () => withConnections(`${count} idle connections`, plain),
      () => withConnections(`${count} idle connections over TLS`, secure),
    ]
  ) {
    rows.push(await row());
    console.error(rows.at(-1)?.join(" | "));
  }
  console.log(markdownTable(rows));
} finally {
  await Deno.remove(cache, { recursive: true });
}
