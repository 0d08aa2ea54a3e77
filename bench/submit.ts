/**
 * How fast and at what cost people's mail is taken, by serve-submit with serve-out behind it, and by Postfix with Dovecot
 * to check passwords, in turn: over TLS from the first octet on, with a login, through a durable queue.
 *
 * @module
 */
import { createTestAuthority } from "../tests/support/test_authority.ts";
import { type Folder, makeFolder } from "../tests/support/peers/folder.ts";
import { freePort, untilListening } from "../tests/support/peers/ports.ts";
import { startPostfix } from "../tests/support/peers/postfix.ts";
import { HOSTNAME, PASSWORD, SubmissionMachine } from "../tests/support/submission.ts";
import { columnCells, columnTitles, CPU, P50, P99, rateCells } from "./comparison.ts";
import { type LoadOptions, runLoadClient } from "./load_client.ts";
import { startPostfixLogins } from "./postfix_logins.ts";
import { costOf } from "./process_tree.ts";
import { FAIR_POSTFIX, makePostfixLog, type ServerName } from "./servers.ts";
import { UNLIMITED } from "./server_under_load.ts";
import { startSinks } from "./sinks.ts";
import { figure, markdownTable } from "./statistics.ts";

/** One kind of load. */
export interface SubmitScenario {
  /** For `--only`. */
  readonly name: string;
  readonly title: string;
  readonly sessions: number;
  readonly messages: number;
  /** Many messages over a connection, which logs in once. */
  readonly keep: boolean;
}

/** All kinds of load, in the order of the table. */
export const SUBMIT_SCENARIOS: readonly SubmitScenario[] = [
  { name: "submit-kept", title: "4 KB, 20 kept connections", sessions: 20, messages: 3000, keep: true },
  {
    name: "submit-new",
    title: "4 KB, 20 sessions, a connection and login for each",
    sessions: 20,
    messages: 1500,
    keep: false,
  },
];

/** How much is measured. */
export interface SubmitOptions {
  readonly scenarios: readonly SubmitScenario[];
  readonly servers: readonly ServerName[];
  readonly rounds: number;
  /** Told what goes on. */
  readonly progress: (line: string) => void;
}

interface Measurement {
  /** Messages a second up to the last 250. */
  readonly rate: number;
  /** Processor milliseconds of all processes a message; serve-out relays meanwhile, as Postfix does. */
  readonly cpu: number;
  /** Milliseconds to the 250, ascending. */
  readonly latencies: readonly number[];
}

interface ServerUnderLoad extends AsyncDisposable {
  readonly port: number;
  readonly authority: string;
  readonly login: NonNullable<LoadOptions["login"]>;
  /** Of all its parts. */
  readonly pids: readonly number[];
}

const SENDER = "alice@example.com";
const SIZE = 4096;
const SINK = "127.0.1.1";
const COLUMNS = [CPU, P50, P99];

/** Runs the scenarios and returns the table. */
export async function benchSubmit(options: SubmitOptions): Promise<string> {
  await using folder = await makeFolder("bench-submit");
  const sinkPort = freePort();
  await using _sinks = await startSinks(folder, { port: sinkPort, hosts: [SINK] });
  const rows: string[][] = [];
  for (const scenario of options.scenarios) {
    const measured = new Map<ServerName, Measurement[]>(options.servers.map((name) => [name, []]));
    for (const name of options.servers) {
      await using server = await startServer(name, { folder, sinkPort });
      await measure(server, { ...scenario, messages: Math.min(2 * scenario.messages, 4000) });
      for (let round = 0; round < options.rounds; round++) {
        const measurement = await measure(server, scenario);
        measured.get(name)?.push(measurement);
        options.progress(
          `${scenario.title}, round ${round + 1}, ${name}: ${figure(measurement.rate)}/s, CPU ${
            figure(measurement.cpu)
          } ms`,
        );
      }
    }
    const columns = columnCells(measured, { servers: options.servers, columns: COLUMNS });
    rows.push([scenario.title, ...rateCells(measured), ...columns]);
  }
  return markdownTable([
    [
      "Submissions a second",
      "mailapp",
      "Postfix and Dovecot",
      "ratio",
      ...columnTitles(options.servers, COLUMNS),
    ],
    ...rows,
  ]);
}

async function startServer(
  name: ServerName,
  { folder, sinkPort }: { readonly folder: Folder; readonly sinkPort: number },
): Promise<ServerUnderLoad> {
  return name === "mailapp"
    ? await startMailapp({ folder, sinkPort })
    : await startPostfixWithDovecot({ folder, sinkPort });
}

async function startMailapp(
  { folder, sinkPort }: { readonly folder: Folder; readonly sinkPort: number },
): Promise<ServerUnderLoad> {
  await using stack = new AsyncDisposableStack();
  const machine = stack.use(
    await SubmissionMachine.create({
      // Who reads the log would take part of what is measured; Postfix writes to a file, too.
      logFile: folder.at("mailapp.log"),
      changes: {
        "serve-out": { allow_private_targets: true, max_connections_per_host: 20 },
        "serve-out.routes": { "*": `${SINK}:${sinkPort}` },
        "serve-submit": UNLIMITED,
      },
    }),
  );
  const serveOut = stack.use(await machine.start("serve-out"));
  const serveSubmit = stack.use(await machine.start("serve-submit"));
  const all = stack.move();
  return {
    port: machine.tlsPort,
    authority: machine.authority.cert,
    login: { user: SENDER, password: PASSWORD },
    pids: [serveSubmit.pid, serveOut.pid],
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

async function startPostfixWithDovecot(
  { folder, sinkPort }: { readonly folder: Folder; readonly sinkPort: number },
): Promise<ServerUnderLoad> {
  await using stack = new AsyncDisposableStack();
  const authority = await createTestAuthority();
  const leaf = await authority.issue({ names: [HOSTNAME] });
  const certificate = {
    cert: await folder.write("cert.pem", leaf.cert),
    key: await folder.write("key.pem", leaf.key, { mode: 0o600 }),
  };
  const { port, service, login, pid } = await startPostfixLogins(stack, SENDER);
  const log = await makePostfixLog();
  stack.defer(() => Deno.remove(log));
  const postfix = stack.use(
    await startPostfix({
      certificate,
      relayTo: { host: SINK, port: sinkPort },
      settings: { ...FAIR_POSTFIX, maillog_file: log },
      services: [service],
    }),
  );
  await untilListening(port);
  const all = stack.move();
  return {
    port,
    authority: authority.cert,
    login,
    pids: [postfix.program.pid, pid],
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

async function measure(
  { port, authority, login, pids }: ServerUnderLoad,
  { sessions, messages, keep }: SubmitScenario,
): Promise<Measurement> {
  const load = () =>
    runLoadClient({
      ...{ host: "127.0.0.1", port, sessions, messages, keep, size: SIZE, login, sender: SENDER },
      ...{ recipient: "x@d{n}.test", domains: 100, tls: { authority, name: HOSTNAME, implicit: true } },
    });
  let cpu = 0;
  let measured = load;
  for (const pid of pids) {
    const inner = measured;
    measured = async () => {
      const cost = await costOf(pid, inner);
      cpu += cost.cpu;
      return cost.result;
    };
  }
  const { seconds, latencies } = await measured();
  return { rate: messages / seconds, cpu: cpu * 1000 / messages, latencies };
}
