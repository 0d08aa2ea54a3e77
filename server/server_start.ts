/**
 * What a server is started with: data, as it goes from one thread to another.
 *
 * @module
 */
import type { Config, ListenConfig } from "../config/config.ts";
import type { DnsServer } from "../dns/wire_client.ts";
import type { ListenAddress, NetworkIo } from "../net/interfaces.ts";
import type { ExitCode } from "./exit_codes.ts";
import type { Grants } from "./grants.ts";
import type { ServerSignals } from "./signals.ts";

/** The servers. */
export type ServerName = "serve-in" | "serve-out" | "serve-submit";

/** What a server is told. */
export interface ServerStart {
  /** Which one. */
  readonly server: ServerName;
  /** Its systemd unit. */
  readonly unit: string;
  /** As it was read. */
  readonly config: Config;
  /** As the command line or the environment named it, for a reload; absent: the default file. */
  readonly configFile?: string;
  /** The host's own name, for a reload; the running server cannot ask. */
  readonly systemHostname: string;
  /** What names this boot of the machine, if that is known. */
  readonly boot?: string | undefined;
  /** Whether standard error is a terminal. */
  readonly isTerminal: boolean;
  /** Whether standard error is read by systemd's journal. */
  readonly toJournal?: boolean;
  /** What the server may touch. */
  readonly grants: Grants;
  /** Where it listens, which it could not find out itself. */
  readonly addresses: readonly ListenAddress[];
  /** Whom it may ask; empty for a server that sends no queries, or may ask any. */
  readonly dnsServers: readonly DnsServer[];
  /** Whether it is told of the machine's routes and addresses while it runs. */
  readonly seesNetwork: boolean;
  /** Where it is to listen, and on which ports, when the machine's addresses change; absent: they stay. */
  readonly follow?: { readonly listen: ListenConfig; readonly ports: readonly number[] };
}

/**
 * The configuration as its file says now.
 * @throws as `loadConfig` of config/load.ts
 */
export async function loadAgain({ configFile, systemHostname }: ServerStart): Promise<Config> {
  // What reads and checks it takes 12 MB of memory, and most servers are never told to do it again.
  const { loadConfig } = await import("../config/load.ts");
  return await loadConfig(configFile, {
    env: { get: () => undefined },
    systemHostname: () => systemHostname,
  });
}

/** What surrounds a running server. */
export interface ServerContext {
  /** SIGTERM, SIGINT and SIGHUP. */
  readonly signals: ServerSignals;
  /** Where the machine's addresses and routes are seen. */
  readonly network: NetworkIo;
  /** The module that every thread of the program begins with. */
  readonly entry: string;
  /** Sets what becomes of the addresses that the server is to listen on from now on. */
  onAddresses(follow: (addresses: readonly ListenAddress[]) => void): void;
}

/** Serves until it is told to stop; what the process ends with. */
export type RunServer = (start: ServerStart, context: ServerContext) => Promise<ExitCode>;
