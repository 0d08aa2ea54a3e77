/**
 * Copies of the configured servers: on free ports of loopback, with all paths in a temporary directory, and with DNS
 * and receiving servers of the self-test. Nothing of the installation is changed, and nothing leaves the machine.
 *
 * @module
 */
import { join } from "@std/path";
import type { Config, RouteConfig } from "../config/config.ts";
import { silentLogger } from "../base/log.ts";
import { mailRootOf } from "../maildir/mailboxes.ts";
import { systemNetwork } from "../net/interfaces.ts";
import { sameAddress } from "../net/ip_address.ts";
import { prepareDataDir } from "../server/parts.ts";
import { ownTargets } from "../server/relay_parts.ts";
import type { ServerName, ServerStart } from "../server/server_start.ts";
import { loadServer, SERVERS } from "../server/servers.ts";
import { relayedSignals } from "../server/signals.ts";
import { LogTail } from "./log_tail.ts";

/** What all copies share. */
export interface CopyPlaces {
  /** An empty directory, for everything that they write. */
  readonly directory: string;
  /** The port of the DNS server on 127.0.0.1. */
  readonly dnsPort: number;
  /** The port of the receiving servers. */
  readonly peersPort: number;
  /** The module that every thread of the program begins with. */
  readonly entry: string;
}

/** In what a copy differs from what its configuration says. */
export interface CopyChanges {
  /** Upper bound of the time that clients may be silent, in milliseconds. */
  readonly idleTimeoutMs?: number;
  /** Greylisting as configured; else it is off, since each client of the self-test is unknown. */
  readonly greylists?: true;
  /** Upper bound of the patience with receiving servers, in milliseconds. */
  readonly patienceMs?: number;
  /** Without routes, and with these TLS policies: each domain's MX is asked for. */
  readonly tlsPolicy?: Config["serveOut"]["tlsPolicy"];
  /** The port of the copy of serve-in, for serve-out. */
  readonly serveInPort?: number;
  /** The port of serve-out. */
  readonly serveOutPort?: number;
  /** A certificate in place of one that is not there yet. */
  readonly standIn?: { readonly certFile: string; readonly keyFile: string };
  /** The file of accounts, for serve-submit. */
  readonly accountsFile?: string;
}

/** For a silent DNS server, in milliseconds. */
const CHECKS_TIMEOUT = 3_000;

/** The configuration of a copy; `name` is its directory. */
export async function copyConfig(
  config: Config,
  { name, places, changes = {} }: {
    readonly name: string;
    readonly places: CopyPlaces;
    readonly changes?: CopyChanges;
  },
): Promise<Config> {
  const { serveIn, serveOut, serveSubmit, servePolicy, mailboxes, dns } = config;
  const dataDir = join(places.directory, name);
  await Deno.mkdir(dataDir, { recursive: true });
  const idle = (ms: number) => Math.min(ms, changes.idleTimeoutMs ?? ms);
  const { file: _file, ...rest } = config;
  const { sourceIpv4: _ipv4, sourceIpv6: _ipv6, ...out } = serveOut;
  return {
    ...rest,
    dataDir,
    warnings: [],
    log: { level: "info", format: "json", file: join(dataDir, "log") },
    tls: await copyCertificate(config, dataDir, changes),
    dns: { ...dns, servers: [{ address: "127.0.0.1", port: places.dnsPort }] },
    // The real queue may be in a database.
    queue: { store: "spool" },
    alerts: {},
    metrics: {},
    serveIn: {
      ...serveIn,
      listen: ["127.0.0.1"],
      port: changes.serveInPort ?? 0,
      tlsPort: serveIn.tlsPort === false ? false : 0,
      idleTimeoutMs: idle(serveIn.idleTimeoutMs),
      minFreeSpace: 0,
      checks: {
        ...serveIn.checks,
        filters: [],
        greylist: changes.greylists ? serveIn.checks.greylist : "off",
        timeoutMs: Math.min(serveIn.checks.timeoutMs, CHECKS_TIMEOUT),
      },
    },
    mailboxes: { ...mailboxes, path: join(dataDir, "mail", mailboxes.path) },
    serveOut: {
      ...out,
      listen: ["127.0.0.1"],
      port: changes.serveOutPort ?? 0,
      smtpPort: places.peersPort,
      family: "auto",
      allowPrivateTargets: true,
      minFreeSpace: 0,
      mtaSts: false,
      tlsReports: false,
      timeouts: patience(serveOut.timeouts, changes.patienceMs),
      routes: changes.tlsPolicy ? {} : await copyRoutes(config, { dataDir, places, changes }),
      tlsPolicy: changes.tlsPolicy ?? serveOut.tlsPolicy,
    },
    ...(serveSubmit && { serveSubmit: copySubmission(serveSubmit, { idle, changes }) }),
    ...(servePolicy && { servePolicy: { listen: ["127.0.0.1"], port: 0 } }),
  };
}

function copySubmission(
  serveSubmit: NonNullable<Config["serveSubmit"]>,
  { idle, changes }: { readonly idle: (ms: number) => number; readonly changes: CopyChanges },
): NonNullable<Config["serveSubmit"]> {
  const { dovecotSocket: _, ...rest } = serveSubmit;
  return {
    ...rest,
    listen: ["127.0.0.1"],
    port: rest.port === false ? false : 0,
    tlsPort: rest.tlsPort === false ? false : 0,
    idleTimeoutMs: idle(rest.idleTimeoutMs),
    ...(changes.accountsFile !== undefined && { accountsFile: changes.accountsFile }),
  };
}

function patience(
  timeouts: Config["serveOut"]["timeouts"],
  most: number | undefined,
): Config["serveOut"]["timeouts"] {
  if (most === undefined) return timeouts;
  const { connectMs, commandMs, dataMs, dataEndMs } = timeouts;
  const bound = (ms: number) => Math.min(ms, most);
  return {
    connectMs: bound(connectMs),
    commandMs: bound(commandMs),
    dataMs: bound(dataMs),
    dataEndMs: bound(dataEndMs),
  };
}

/** A certificate of files is read where it is; one that the program makes itself is copied, or made for the copy. */
async function copyCertificate(
  { tls, dataDir }: Config,
  copy: string,
  { standIn }: CopyChanges,
): Promise<Config["tls"]> {
  const { certificate } = tls;
  if (certificate !== undefined) {
    const isThere = tls.acme === undefined || await exists(certificate.certFile);
    if (isThere) return { certificate, selfSigned: false };
    return standIn === undefined ? { selfSigned: true } : { certificate: standIn, selfSigned: false };
  }
  if (!tls.selfSigned) return { selfSigned: false };
  const directory = join(copy, "tls");
  await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
  for (const name of ["selfsigned.crt", "selfsigned.key"]) {
    await Deno.copyFile(join(dataDir, "tls", name), join(directory, name)).catch(() => {});
  }
  return { selfSigned: true };
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

/** The routes, to the same host names; where one leads back to us, to the copies. No real password is used. */
async function copyRoutes(
  config: Config,
  { dataDir, places, changes }: {
    readonly dataDir: string;
    readonly places: CopyPlaces;
    readonly changes: CopyChanges;
  },
): Promise<Record<string, RouteConfig>> {
  const passwordFile = join(dataDir, "route-password");
  await Deno.writeTextFile(passwordFile, "selftest\n", { mode: 0o600 });
  return Object.fromEntries(
    Object.entries(config.serveOut.routes).map(([domain, route]) => {
      const own = ownServer(config, route);
      const { login } = route;
      const port = own === "serve-in"
        ? changes.serveInPort ?? 0
        : own === "serve-out"
        ? changes.serveOutPort ?? 0
        : places.peersPort;
      return [domain, {
        ...route,
        port: Math.max(1, port),
        host: own === undefined ? routeHost(domain, route.host) : "127.0.0.1",
        ...(login && { login: { ...login, passwordFile } }),
      }];
    }),
  );
}

/** The name by which a copy knows the host of a route: an address would be that of a real machine. */
export function routeHost(domain: string, host: string): string {
  if (!/^[\d.]+$|:/.test(host)) return host;
  return `${domain === "*" ? "smarthost" : domain}.route.selftest.test`;
}

/** Which of our own servers a route leads to. */
export function ownServer(
  config: Config,
  { host, port }: Pick<RouteConfig, "host" | "port">,
): "serve-in" | "serve-out" | undefined {
  const { hostname, serveIn, serveOut } = config;
  const name = host.toLowerCase().replace(/\.$/, "");
  const loopback = name === "localhost" || /^127\.|^::1$/.test(name);
  if (loopback && port === serveOut.port) return "serve-out";
  if (port !== serveIn.port || serveIn.domains.length === 0) return undefined;
  const { ownListeners } = ownTargets(config, { logger: silentLogger });
  const isHere = loopback || name === hostname ||
    ownListeners.some(({ address }) => sameAddress(address, name));
  return isHere ? "serve-in" : undefined;
}

/** For a server's start, in milliseconds. */
const START = 30_000;

/** A server that runs in this process. */
export interface Copy {
  /** Its configuration. */
  readonly config: Config;
  /** Its log. */
  readonly log: LogTail;
  /** The port without TLS at first; `undefined` where there is none. */
  readonly port: number | undefined;
  /** The port with TLS at once. */
  readonly tlsPort: number | undefined;
  /** Ends it; resolves when it has ended. */
  stop(): Promise<void>;
}

/**
 * Starts a server.
 * @param options `trusted`: the authorities that serve-out trusts, as PEM
 * @throws what its start throws
 */
export async function startCopy(
  name: ServerName,
  given: Config,
  { places, trusted }: { readonly places: CopyPlaces; readonly trusted?: readonly string[] },
): Promise<Copy> {
  // In this thread, so that whoever tests it sees and counts what it does.
  const config = {
    ...given,
    serveIn: { ...given.serveIn, threads: 1 },
    serveOut: { ...given.serveOut, threads: 1 },
  };
  const server = await SERVERS[name].load();
  server.check(config);
  await prepareDataDir(config, server.directories(config));
  if (name === "serve-in") await Deno.mkdir(mailRootOf(config.mailboxes.path), { recursive: true });
  await server.prepare?.(config);
  const run = await loadServer(name);
  const { signals, stop, force } = relayedSignals();
  const start: ServerStart = {
    server: name,
    unit: server.unit.name,
    config,
    systemHostname: Deno.hostname(),
    isTerminal: false,
    grants: { net: true, read: [], write: [], sys: [] },
    addresses: [{ address: "127.0.0.1", tentative: false }],
    dnsServers: [{ address: "127.0.0.1", port: places.dnsPort }],
    seesNetwork: server.seesNetwork,
  };
  let failure: unknown;
  const running = run(start, {
    signals,
    network: systemNetwork,
    entry: places.entry,
    onAddresses: () => {},
    ...(trusted && { trusted }),
  }).then(() => {}, (error) => {
    failure = error;
  });
  const log = new LogTail(config.log.file ?? "");
  const ready = await Promise.race([
    log.find(({ event }) => event === "server.ready", START),
    running.then(() => undefined),
  ]);
  if (ready === undefined) {
    stop("SIGTERM");
    throw failure ?? new Error(`${name} does not start`);
  }
  await log.read();
  const port = (tls: readonly string[]) => {
    const found = log.events.find((event) =>
      event.event === "listener.ready" && tls.includes(String(event["tls"]))
    );
    return found === undefined ? undefined : Number(found["port"]);
  };
  return {
    config,
    log,
    port: port(["off", "starttls"]),
    tlsPort: port(["implicit"]),
    async stop() {
      stop("SIGTERM");
      force();
      await running;
    },
  };
}
