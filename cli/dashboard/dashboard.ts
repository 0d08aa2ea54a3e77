/**
 * `mailapp dashboard`: a page in the browser about the servers of this machine, in a process of its own that may see
 * the log and the control socket, and next to nothing else.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { dirname, join } from "@std/path";
import { type Command, Option } from "commander";
import type { Config } from "../../config/config.ts";
import { ConfigError } from "../../config/errors.ts";
import { loadConfig } from "../../config/load.ts";
import { findingsFile } from "../../doctor/saved_findings.ts";
import { systemNetwork } from "../../net/interfaces.ts";
import { reachableAddress, showEndpoint } from "../../net/listen.ts";
import { CONTROL_SOCKET } from "../../relay/control_socket.ts";
import { systemBoot } from "../../server/boot.ts";
import type { ExitCode } from "../../server/exit_codes.ts";
import { type Grants, logFile, metricsEndpoint } from "../../server/grants.ts";
import type { ServerIo } from "../../server/io.ts";
import { POLICY_FILE } from "../../server/mta_sts_parts.ts";
import { incomingDirectory, openMailboxes } from "../../server/parts.ts";
import { submitProblemFile } from "../../server/submit_parts.ts";
import { policyHosts } from "../../server/policy_parts.ts";
import { allServers } from "../../server/servers.ts";
import { watchSignals } from "../../server/signals.ts";
import { isJournal } from "../../server/journal.ts";
import { relayProblemFile } from "../../server/problem_parts.ts";
import { becomeOwner } from "../../server/become_account.ts";
import { splitAddress } from "../../smtp/address.ts";
import { configOption, examples, type Registrar } from "../command_line/subcommand.ts";
import type { MachinePlaces, Probe } from "./machine.ts";
import type { DashboardStart } from "./thread.ts";
import { browserKey, dashboardDirectory, makeToken, readTokens, tokenFile } from "./tokens.ts";

interface Flags {
  readonly config?: string;
  readonly log: readonly string[];
}

/** Where Debian has it. */
const JOURNALCTL = "/usr/bin/journalctl";

/** Registers the subcommand. */
export function registerDashboard(program: Command, { io, action }: Registrar): void {
  program.command("dashboard")
    .description(
      "serve a page in the browser: mail, queue, refusals, finding a message; on loopback, until SIGTERM",
    )
    .addOption(
      new Option(
        "--log <file>",
        "a log, with its rotated files; may be repeated (default: [log] file, or the journal)",
      )
        .argParser((file: string, files: readonly string[]) => [...files, file]).default([]),
    )
    .addOption(configOption())
    .addHelpText("after", examples("mailapp dashboard", "ssh -L 8025:127.0.0.1:8025 mx.example.com"))
    .action(action((flags: Flags) => dashboard(flags, io)));
}

async function dashboard({ config: file, log }: Flags, io: ServerIo): Promise<ExitCode> {
  const signals = watchSignals(io);
  const configFile = file ?? (io.env.get("MAILAPP_CONFIG") || undefined);
  const config = await loadConfig(configFile, { env: io.env });
  const logs = log.length > 0 ? log : config.log.file === undefined ? [] : [config.log.file];
  // The journal is not for the account of the servers, unless its unit says so.
  if (logs.length > 0) await becomeOwner(config.dataDir);
  await Deno.mkdir(dashboardDirectory(config), { recursive: true, mode: 0o700 });
  const path = tokenFile(config);
  if (config.dashboard.tokenFile === undefined) await makeToken(path);
  const tokens = await readTokens(path);
  const machine = await placesOf(config);
  const reports = reportsMaildir(config);
  const controlSocket = join(config.dataDir, CONTROL_SOCKET);
  const { address, port } = config.dashboard.listen;
  if (io.isTerminal) {
    io.err(`mailapp dashboard: http://${showEndpoint(address, port)}/ with the token in ${path}\n`);
  }
  const start: DashboardStart = {
    server: "dashboard",
    unit: "mailapp-dashboard",
    config,
    ...(configFile !== undefined && { configFile }),
    systemHostname: Deno.hostname(),
    boot: systemBoot(),
    isTerminal: io.isTerminal,
    toJournal: isJournal(io.env.get("JOURNAL_STREAM")),
    grants: grantsOf(config, { machine, controlSocket, logs, reports }),
    addresses: [],
    dnsServers: [],
    seesNetwork: false,
    tokens,
    browserKey: await browserKey(config),
    machine,
    controlSocket,
    logs,
    ...(reports !== undefined && { reports }),
    interfaces: systemNetwork.interfaces(),
  };
  return await io.confine(start, signals);
}

/**
 * The Maildir of `[dashboard] reports`.
 * @throws {ConfigError} when that is no mailbox here, or more than one
 */
function reportsMaildir(config: Config): string | undefined {
  const { dashboard: { reports }, file } = config;
  if (reports === undefined) return undefined;
  const found = openMailboxes(config).resolve(splitAddress(reports));
  const [mailbox, second] = found.kind === "local" ? found.mailboxes : [];
  if (mailbox !== undefined && second === undefined) return mailbox.path;
  const problem = mailbox === undefined
    ? "is no mailbox of this server; add it to [mailboxes] users"
    : "goes to more than one mailbox; name one of its own";
  throw new ConfigError(file, [{ key: "dashboard.reports", value: JSON.stringify(reports), problem }]);
}

async function placesOf(config: Config): Promise<MachinePlaces> {
  const servers = (await allServers()).filter((server) => server.isConfigured(config));
  const probes = servers.map((server): Probe => {
    const metrics = metricsEndpoint(config, server.name);
    const policyHost = server.name === "serve-policy" ? policyHosts(config)[0] : undefined;
    let places: Probe["places"] = [];
    try {
      const addresses = server.addresses(config);
      const endpoints = server.endpoints(config, { hasCertificate: false, addresses })
        .filter(({ port }) => port !== 0);
      const plain = endpoints.filter(({ tls }) => tls !== "implicit");
      places = (plain.length > 0 ? plain : endpoints)
        .map(({ address, port, tls }) => ({
          address: reachableAddress(address),
          port,
          tls: tls === "implicit",
        }));
    } catch {
      // Without an address it does not listen.
    }
    return {
      name: server.name,
      places,
      ...(policyHost !== undefined && { policyHost }),
      certificate: server.usesCertificate ?? false,
      ...(metrics !== undefined && { metrics: showEndpoint(metrics.address, metrics.port) }),
    };
  });
  const { tokenFile: metricsFile } = config.metrics;
  const token = metricsFile === undefined
    ? undefined
    : (await Deno.readTextFile(metricsFile).catch(() => "")).split("\n", 1)[0]?.trim();
  return {
    hostname: config.hostname,
    probes,
    problemFiles: [
      relayProblemFile(config),
      join(incomingDirectory(config), "trouble.json"),
      submitProblemFile(config),
    ],
    directory: dashboardDirectory(config),
    minFree: config.serveOut.minFreeSpace,
    policies: join(config.dataDir, POLICY_FILE),
    findings: findingsFile(config.dataDir),
    ...(token && { metricsToken: token }),
  };
}

/** Where the built file has its modules: what a server needs is read before its thread begins, the dashboard's is not. */
function programFiles(): string[] {
  const path = fileURLToPath(Deno.mainModule);
  return path.endsWith(".js") ? [dirname(path)] : [];
}

/**
 * Its port; one connection to each server, its metrics and the control socket; the log and five small files; the inbox
 * that reports are sent to, if it is named. Other mail, keys, passwords and the spool are not granted.
 */
function grantsOf(
  config: Config,
  { machine, controlSocket, logs, reports }: {
    readonly machine: MachinePlaces;
    readonly controlSocket: string;
    readonly logs: readonly string[];
    readonly reports: string | undefined;
  },
): Grants {
  const { address, port } = config.dashboard.listen;
  const { probes, problemFiles, directory, policies, findings } = machine;
  return {
    net: [
      showEndpoint(address, port),
      ...probes.flatMap(({ places }) => places.map((place) => showEndpoint(place.address, place.port))),
      ...probes.flatMap(({ metrics }) => metrics ?? []),
      `unix:${controlSocket}`,
    ],
    read: [
      ...[controlSocket, ...problemFiles, directory, policies, findings],
      // The inbox alone, not its folders.
      ...(reports === undefined ? [] : [join(reports, "new"), join(reports, "cur")]),
      // Rotated logs are beside the log.
      ...logs.map((log) => dirname(log)),
      ...programFiles(),
    ],
    // A Unix socket is connected to by reading and writing its path.
    write: [controlSocket, ...logFile(config)],
    sys: ["statfs"],
    ...(logs.length === 0 && { run: [JOURNALCTL] }),
  };
}
