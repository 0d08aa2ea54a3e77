/**
 * What a server is started with: plain data, passed from one thread to another.
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
export type ServerName = "serve-in" | "serve-out" | "serve-submit" | "serve-policy";

/** What runs confined in a thread: a server, or the dashboard. */
export type ConfinedName = ServerName | "dashboard";

/** Ports of a server; `false`: none. */
export interface ServerPorts {
  readonly port: number;
  readonly tlsPort: number | false;
}

/** What a server follows. */
export interface Follow {
  /** Where it is to listen when the machine's addresses change. */
  readonly listen: ListenConfig;
  /** Its ports there. */
  readonly ports: readonly number[];
  /** Whether it may query the DNS servers of resolv.conf, and so is to have those that it names later. */
  readonly resolvConf?: boolean;
}

/** The start data of a server. */
export interface ServerStart {
  /** Which one. */
  readonly server: ConfinedName;
  /** Its systemd unit. */
  readonly unit: string;
  /** The configuration as read at the start. */
  readonly config: Config;
  /** The file named by the command line or the environment, for a reload; absent: the default file. */
  readonly configFile?: string;
  /** The host's own name, for a reload; the running server cannot ask. */
  readonly systemHostname: string;
  /** Identifies this boot of the machine, if known. */
  readonly boot?: string | undefined;
  /** Whether standard error is a terminal. */
  readonly isTerminal: boolean;
  /** Whether standard error is read by systemd's journal. */
  readonly toJournal?: boolean;
  /** What the server may touch. */
  readonly grants: Grants;
  /** Where it listens, which it could not determine itself. */
  readonly addresses: readonly ListenAddress[];
  /** Its ports; absent: those of the configuration. */
  readonly ports?: ServerPorts;
  /** The DNS servers it may query; empty for a server that sends no queries, or may query any. */
  readonly dnsServers: readonly DnsServer[];
  /** Whether it receives the machine's routes and addresses while it runs. */
  readonly seesNetwork: boolean;
  /** What it follows while it runs; absent: where it listens and which DNS servers it may query stays. */
  readonly follow?: Follow;
}

/**
 * The configuration as its file says now.
 * @throws as `loadConfig` of config/load.ts
 */
export async function loadAgain({ configFile, systemHostname }: ServerStart): Promise<Config> {
  // The loader takes 12 MB of memory, and most servers never reload.
  const { loadConfig } = await import("../config/load.ts");
  return await loadConfig(configFile, {
    env: { get: () => undefined },
    systemHostname: () => systemHostname,
  });
}

/** The environment of a running server. */
export interface ServerContext {
  /** SIGTERM, SIGINT and SIGHUP. */
  readonly signals: ServerSignals;
  /** The machine's addresses and routes. */
  readonly network: NetworkIo;
  /** The module that every thread of the program begins with. */
  readonly entry: string;
  /** PEM certificates of the authorities that serve-out trusts in place of the usual ones; for the self-test. */
  readonly trusted?: readonly string[];
  /** Sets the callback for new addresses to listen on. */
  onAddresses(follow: (addresses: readonly ListenAddress[]) => void): void;
}

/** Serves until it is told to stop; returns the exit code. */
export type RunServer = (start: ServerStart, context: ServerContext) => Promise<ExitCode>;
