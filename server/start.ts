/**
 * Starts a server by its name: what needs all permissions is done here, before the server's thread is
 * confined.
 *
 * @module
 */
import { resolve } from "@std/path";
import { errorText } from "../base/error_text.ts";
import type { Config } from "../config/config.ts";
import { DEFAULT_CONFIG_FILE, loadConfig } from "../config/load.ts";
import type { ListenAddress } from "../net/interfaces.ts";
import type { Log } from "../observe/logger.ts";
import { awaitedAddress } from "./addresses.ts";
import { systemBoot } from "./boot.ts";
import { requireConfigFile } from "./config_file.ts";
import { findDnsServers } from "./dns_parts.ts";
import { EXIT, type ExitCode } from "./exit_codes.ts";
import type { ServerIo } from "./io.ts";
import { isJournal } from "./journal.ts";
import { prepareDataDir } from "./parts.ts";
import type { Server } from "./server.ts";
import { openLog } from "./log_parts.ts";
import type { ServerName, ServerStart } from "./server_start.ts";
import { refuseForeignDataDir, rightsWarnings } from "./rights.ts";
import { SERVERS } from "./servers.ts";
import { type ServerSignals, watchSignals } from "./signals.ts";

/** Interval between reads of the network while the server waits for its first address, in milliseconds. */
const POLL_INTERVAL = 1_000;

/** Serves until it is told to stop; returns the exit code. */
export async function startServer(
  name: ServerName,
  { config: file }: { readonly config?: string },
  io: ServerIo,
): Promise<ExitCode> {
  const signals = watchSignals(io);
  const server = await SERVERS[name].load();
  const named = file ?? (io.env.get("MAILAPP_CONFIG") || undefined);
  // Absolute, since the server's thread may not ask for the working directory.
  const configFile = named === undefined ? undefined : resolve(named);
  const load = () => prepare(server, configFile, io);
  const first = await load();
  const found = await firstAddresses(first, { server, load, signals, io });
  if (found === undefined) return EXIT.ok;
  const { config, addresses } = found;
  const asksDns = server.asksDns?.(config) ?? false;
  const dnsServers = asksDns ? await findDnsServers(config) : [];
  const follow = server.follow?.(config);
  const ports = server.chooseFreePorts?.(config);
  const start: ServerStart = {
    server: name,
    unit: server.unit.name,
    config,
    ...(configFile !== undefined && { configFile }),
    systemHostname: Deno.hostname(),
    boot: systemBoot(),
    isTerminal: io.isTerminal,
    toJournal: isJournal(io.env.get("JOURNAL_STREAM")),
    grants: server.grants(config, {
      configFile: config.file ?? DEFAULT_CONFIG_FILE,
      addresses: addresses.map(({ address }) => address),
      dnsServers,
      ...(ports && { ports }),
    }),
    addresses,
    ...(ports && { ports }),
    dnsServers,
    seesNetwork: server.seesNetwork,
    ...(follow && { follow: { ...follow, resolvConf: asksDns && config.dns.servers.length === 0 } }),
  };
  return await io.confine(start, signals);
}

/** Reads the configuration, and prepares what it needs. */
async function prepare(server: Server, configFile: string | undefined, io: ServerIo): Promise<Config> {
  const config = await loadConfig(configFile, { env: io.env });
  if (server.needsConfigFile) requireConfigFile(config, server.name);
  server.check(config);
  await refuseForeignDataDir(config, server.unit.name);
  if (server.umask !== undefined) Deno.umask(server.umask);
  await prepareDataDir(config, server.directories(config));
  await server.prepare?.(config);
  return { ...config, warnings: [...config.warnings, ...await rightsWarnings(config)] };
}

interface Waiting {
  readonly server: Server;
  /** Reads the configuration again. */
  readonly load: () => Promise<Config>;
  readonly signals: ServerSignals;
  readonly io: ServerIo;
}

interface Found {
  readonly config: Config;
  readonly addresses: readonly ListenAddress[];
}

/**
 * The first addresses. Waits for a network that comes up late: a server that ended would not be started again.
 * `undefined`: a signal came first.
 */
async function firstAddresses(
  config: Config,
  { server, load, signals, io }: Waiting,
): Promise<Found | undefined> {
  const addresses = addressesNow(server, config);
  if (!(addresses instanceof Error)) return { config, addresses };
  const toJournal = isJournal(io.env.get("JOURNAL_STREAM"));
  await using log = openLog(config, { isTerminal: io.isTerminal, server: server.name, toJournal });
  log.logger.warn("listener.waiting", {
    error: addresses.message,
    action: "retrying until there is one",
  });
  let current = config;
  let reload = false;
  let wake = () => {};
  signals.onReload(() => {
    reload = true;
    wake();
  });
  let stopped: string | undefined;
  signals.stopped.then((reason) => {
    stopped = reason;
    wake();
  });
  for (;;) {
    await new Promise<void>((resolve) => {
      wake = resolve;
      setTimeout(resolve, POLL_INTERVAL);
    });
    if (stopped !== undefined) {
      log.logger.info("server.stopped", { signal: stopped });
      return undefined;
    }
    if (reload) {
      reload = false;
      current = await loadAgain(current, { load, log });
    }
    const found = addressesNow(server, current);
    if (!(found instanceof Error)) return { config: current, addresses: found };
  }
}

/** The addresses; or what is missing that the network may still bring. */
function addressesNow(server: Server, config: Config): readonly ListenAddress[] | Error {
  try {
    return server.addresses(config);
  } catch (error) {
    const awaited = awaitedAddress(error);
    if (awaited === undefined) throw error;
    return awaited;
  }
}

async function loadAgain(
  current: Config,
  { load, log: { logger } }: { readonly load: () => Promise<Config>; readonly log: Log },
): Promise<Config> {
  try {
    const next = await load();
    logger.info("config.reloaded", { needs_restart: [] });
    return next;
  } catch (error) {
    logger.error("config.not_reloaded", { error: errorText(error), action: "keeping the old one" });
    return current;
  }
}
