/**
 * The present state of the servers and the machine.
 *
 * @module
 */
import { dirname, join } from "@std/path";
import { errorText } from "../../base/error_text.ts";
import { systemClock } from "../../base/clock.ts";
import type { Config } from "../../config/config.ts";
import { ConfigError } from "../../config/errors.ts";
import { refusalNow, shown } from "../../doctor/accepts_mail.ts";
import { isApart, type StoragePlace } from "../../doctor/checks/storage.ts";
import { Dialogue } from "../../doctor/dialogue.ts";
import { currentProblems, type Problem } from "../../doctor/problem_watch.ts";
import { findingsFile, readFindings, type SavedFindings } from "../../doctor/saved_findings.ts";
import { mailRootOf } from "../../maildir/mailboxes.ts";
import { askOwnPolicy } from "../../mta_sts/ask_own.ts";
import { createDial } from "../../net/dial.ts";
import { reachableAddress, showEndpoint } from "../../net/listen.ts";
import { countConnections } from "../../net/open_connections.ts";
import type { QueueView } from "../../relay/operator.ts";
import { CommandError } from "../../server/exit_codes.ts";
import type { Io } from "../../server/io.ts";
import { findDnsServers } from "../../server/dns_parts.ts";
import { incomingDirectory } from "../../server/parts.ts";
import { policyHosts } from "../../server/policy_parts.ts";
import { findServer, openQueue } from "../../server/queue_access.ts";
import { openResolver } from "../../server/relay_parts.ts";
import type { Server } from "../../server/server.ts";
import { settingsName } from "../../server/settings_name.ts";
import { readCertificate } from "../../server/certificate_parts.ts";
import { allServers } from "../../server/servers.ts";
import { submitProblemFile } from "../../server/submit_parts.ts";
import { relayProblemFile } from "../../server/problem_parts.ts";
import { probeName } from "../../smtp/own_probe.ts";
import { freeRoom } from "../../storage/free_space.ts";
import { type QueueGroup, QueueSummary } from "../command_line/queue_summary.ts";

/** One server. */
export interface ServerState {
  readonly name: string;
  /** Whether it answers. */
  readonly up: boolean;
  /** The address asked, and why it does not answer. */
  readonly about: string;
  /** What it answers if it accepts no mail now. */
  readonly refusal?: string;
  /** Open connections; absent where the system does not tell. */
  readonly connections?: number;
}

/** The queue. */
export interface QueueState {
  readonly messages: number;
  readonly groups: readonly QueueGroup[];
  /** How many each host has, by its name, where hosts share the queue. */
  readonly hosts: readonly (readonly [name: string, messages: number])[];
  /** In milliseconds. */
  readonly oldestAge: number;
  /** Why it could not be read. */
  readonly error?: string;
}

/** A file system that mail is stored on. */
export interface DiskState {
  readonly path: string;
  /** Octets. */
  readonly free: number;
  /** Below it mail is deferred. */
  readonly minFree: number;
}

/** The whole state. */
export interface State {
  readonly servers: readonly ServerState[];
  readonly queue: QueueState;
  readonly disks: readonly DiskState[];
  /** When the certificate expires, in milliseconds since the epoch; absent without one. */
  readonly certificateExpiry?: number;
  /** What is wrong with it. */
  readonly certificateError?: string;
  /** The error of DNS for our own name; absent if it answers. */
  readonly dnsError?: string;
  /** Whether serve-out uses an earlier configuration than the file. */
  readonly outdated: boolean;
  /** What the servers found themselves. */
  readonly reported: readonly Problem[];
  /** What doctor found when it was run last; absent if it never was, or its findings may not be read. */
  readonly doctor?: SavedFindings;
}

const CONNECTION_TABLES = ["/proc/net/tcp", "/proc/net/tcp6"];
/** For each step, in milliseconds. */
const TIMEOUT = 3_000;
const TOP = 10;

/** Reads the state. */
export async function readState(config: Config, io: Io): Promise<State> {
  const servers = (await allServers()).filter((server) => server.isConfigured(config));
  const now = systemClock.now();
  // Before this asks the servers.
  const connections = openConnections(servers, config);
  const [states, queue, disks, certificate, dnsError, doctor, outdated, ...reported] = await Promise.all([
    Promise.all(servers.map((server) => stateOf(server, config))),
    readQueue(config, io),
    readDisks(config, servers),
    readExpiry(config),
    askDns(config),
    readFindings(findingsFile(config.dataDir)),
    isOutdated(config),
    currentProblems(relayProblemFile(config), now),
    currentProblems(join(incomingDirectory(config), "trouble.json"), now),
    ...(config.serveSubmit === undefined ? [] : [currentProblems(submitProblemFile(config), now)]),
  ]);
  return {
    servers: states.map((state) => {
      const count = connections?.get(state.name);
      return { ...state, ...(count !== undefined && { connections: count }) };
    }),
    queue,
    disks,
    ...certificate,
    ...(dnsError !== undefined && { dnsError }),
    reported: reported.flat(),
    ...(doctor && { doctor }),
    outdated,
  };
}

async function isOutdated(config: Config): Promise<boolean> {
  try {
    const settings = await (await findServer(config))?.settings();
    return settings !== undefined && settings !== settingsName(config);
  } catch (error) {
    // This account may not ask, which the queue says.
    if (!(error instanceof CommandError)) throw error;
    return false;
  }
}

/** The open connections of each server; `undefined` where the system does not tell. */
function openConnections(servers: readonly Server[], config: Config): Map<string, number> | undefined {
  const tables = CONNECTION_TABLES.flatMap((path) => {
    try {
      return [Deno.readTextFileSync(path)];
    } catch {
      // There may be no IPv6, or no such file at all.
      return [];
    }
  });
  if (tables.length === 0) return undefined;
  const places = servers.flatMap((server) => {
    try {
      const addresses = server.addresses(config);
      return server.endpoints(config, { hasCertificate: true, addresses })
        .map(({ address, port }) => ({ server: server.name, address, port }));
    } catch {
      // Without an address it does not listen.
      return [];
    }
  });
  return countConnections(places, tables);
}

/** Asks a server. */
export async function stateOf(server: Server, config: Config): Promise<ServerState> {
  const { name } = server;
  const policyHost = name === "serve-policy" ? policyHosts(config)[0] : undefined;
  const failures: string[] = [];
  try {
    const addresses = server.addresses(config);
    const endpoints = server.endpoints(config, { hasCertificate: false, addresses });
    // Without STARTTLS there is only the port that begins with TLS.
    const plain = endpoints.filter(({ tls }) => tls !== "implicit");
    for (const { address, port, tls } of plain.length > 0 ? plain : endpoints) {
      if (port === 0) continue;
      const place = { address: reachableAddress(address), port };
      const where = showEndpoint(place.address, port);
      try {
        if (policyHost !== undefined) {
          await askOwnPolicy(place, { host: policyHost, timeout: TIMEOUT, clock: systemClock });
          return { name, up: true, about: where };
        }
        const transport = await createDial({ clock: systemClock, timeout: TIMEOUT })(place);
        using dialogue = new Dialogue(transport, { clock: systemClock, timeout: TIMEOUT });
        if (tls === "implicit") await dialogue.startTls(config.hostname);
        const { code } = await dialogue.listen();
        if (code < 300) {
          const refusal = await askForMail(dialogue);
          return { name, up: true, about: where, ...(refusal !== undefined && { refusal }) };
        }
        failures.push(`${where}: it says ${code}`);
      } catch (error) {
        failures.push(`${where}: ${errorText(error)}`);
      }
    }
  } catch (error) {
    failures.push(errorText(error));
  }
  return { name, up: false, about: failures.join("; ") || "its port is not known" };
}

/** What it answers if it accepts no mail now; `undefined` also where it does not answer. */
async function askForMail(dialogue: Dialogue): Promise<string | undefined> {
  try {
    const { code } = await dialogue.say(`EHLO ${probeName("status")}`);
    const refusal = code < 300 ? await refusalNow(dialogue) : undefined;
    await dialogue.end();
    return refusal && shown(refusal);
  } catch {
    return undefined;
  }
}

async function readQueue(config: Config, io: Io): Promise<QueueState> {
  const summary = new QueueSummary("domain");
  const hosts = new Map<string, number>();
  let messages = 0;
  let oldestAge = 0;
  try {
    await using queue = await openQueue(config, io);
    for await (const view of queue.list({}) as AsyncIterable<QueueView>) {
      summary.add(view);
      messages++;
      if (view.host !== undefined) hosts.set(view.host, (hosts.get(view.host) ?? 0) + 1);
      oldestAge = Math.max(oldestAge, view.age);
    }
    return { messages, oldestAge, groups: summary.groups.slice(0, TOP), hosts: [...hosts] };
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    return { messages, oldestAge, groups: [], hosts: [], error: errorText(error) };
  }
}

/** The mailboxes, each of which may have a file system of its own. */
function singlePlaces(config: Config, servers: readonly Server[]): StoragePlace[] {
  try {
    return servers.flatMap((server) => server.mailPlaces(config)).filter(({ single }) => single);
  } catch (error) {
    // check-config says what is wrong with the mailboxes.
    if (!(error instanceof ConfigError)) throw error;
    return [];
  }
}

async function readDisks(config: Config, servers: readonly Server[]): Promise<DiskState[]> {
  const places = [
    { path: config.dataDir, minFree: config.serveOut.minFreeSpace },
    ...(config.serveIn.domains.length === 0
      ? []
      : [{ path: mailRootOf(config.mailboxes.path), minFree: config.serveIn.minFreeSpace }]),
  ];
  for (const place of singlePlaces(config, servers)) {
    if (await isApart(place)) places.push({ path: place.path, minFree: place.minFreeSpace });
  }
  const seen = new Map<string, DiskState>();
  for (const { path, minFree } of places) {
    const { octets: free } = await freeRoom(path).catch(() => ({ octets: NaN }));
    if (Number.isNaN(free)) continue;
    // A file system is listed once.
    const device = String(
      (await Deno.stat(path).catch(() => Deno.stat(dirname(path))).catch(() => undefined))?.dev,
    );
    const known = seen.get(device);
    seen.set(device, known ?? { path, free, minFree });
  }
  return [...seen.values()];
}

async function readExpiry(
  config: Config,
): Promise<Pick<State, "certificateExpiry" | "certificateError">> {
  try {
    const pair = await readCertificate(config);
    return pair === undefined ? {} : { certificateExpiry: pair.leaf.validToDate.getTime() };
  } catch (error) {
    return { certificateError: errorText(error) };
  }
}

async function askDns(config: Config): Promise<string | undefined> {
  const name = config.serveIn.domains[0] ?? config.hostname;
  const answer = await openResolver(config).mx(name, { signal: AbortSignal.timeout(TIMEOUT) });
  if (answer.kind !== "failed") return undefined;
  const servers = await findDnsServers(config);
  const asked = servers.map(({ address, port }) => showEndpoint(address, port)).join(", ");
  return `no answer about ${name} from ${asked || "any DNS server"}: ${answer.reason}`;
}
