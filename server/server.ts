/**
 * Describes a server to the program that runs it. Each has one file with all of it (`serve_in.ts`, `serve_out.ts`)
 * and a line in `servers.ts`; everything that starts, confines, reloads, checks or installs servers uses these.
 *
 * @module
 */
import type { Config } from "../config/config.ts";
import type { ReadFile, StoragePlace } from "../doctor/checks/storage.ts";
import type { DnsServer } from "../dns/wire_client.ts";
import type { ListenAddress, NetworkIo } from "../net/interfaces.ts";
import type { Grants } from "./grants.ts";
import type { Endpoint } from "./listeners.ts";
import type { RunServer, ServerName, ServerPorts, ServerStart } from "./server_start.ts";

/** What a server's grants depend on besides the configuration. */
export interface GrantOptions {
  /** To be read again at a reload. */
  readonly configFile: string;
  /** Where it listens; see {@linkcode Server.addresses}. */
  readonly addresses: readonly string[];
  /** The DNS servers it queries, if any; see {@linkcode Server.asksDns}. */
  readonly dnsServers: readonly DnsServer[];
  /** Its ports, where they are not those of the configuration; see {@linkcode Server.chooseFreePorts}. */
  readonly ports?: ServerPorts;
}

/** One of the servers. */
export interface Server {
  /** Its name on the command line, and the table of the configuration. */
  readonly name: ServerName;
  /** Whether it can do nothing with the defaults alone. */
  readonly needsConfigFile: boolean;
  /** Whether it is configured; only then is it installed and monitored. */
  isConfigured(config: Config): boolean;
  /**
   * Rejects a configuration that it cannot serve with.
   * @throws {ConfigError}
   */
  check(config: Config): void;
  /** Its private directories in `data_dir`, by name. */
  directories(config: Config): readonly string[];
  /** Its umask; absent: that of the process. */
  readonly umask?: number;
  /** Does what needs all permissions, before it is confined to its grants. */
  prepare?(config: Config): Promise<void>;
  /**
   * The addresses that it listens on now.
   * @throws {CommandError} when there is none
   */
  addresses(config: Config, network?: NetworkIo): readonly ListenAddress[];
  /** Where it listens when the machine's addresses change, and on which ports; absent: where it was started. */
  follow?(config: Config): ServerStart["follow"];
  /** Its ports on these addresses. */
  endpoints(
    config: Config,
    options: { readonly hasCertificate: boolean; readonly addresses: readonly ListenAddress[] },
  ): readonly Endpoint[];
  /** Its ports where the configuration lets it choose and it cannot do that itself; absent: it can. */
  chooseFreePorts?(config: Config): ServerPorts | undefined;
  /** Whether the DNS servers are determined before it is confined, as it may query no others; absent: no. */
  asksDns?(config: Config): boolean;
  /** What its thread may touch. */
  grants(config: Config, options: GrantOptions): Grants;
  /** Whether it uses the certificate of `[tls]`; absent: no. */
  readonly usesCertificate?: true;
  /** The files that it needs in order to start. */
  readFiles(config: Config): readonly ReadFile[];
  /**
   * Where it stores mail, besides `data_dir`; without a place it starts, and defers mail.
   * @throws {ConfigError}
   */
  mailPlaces(config: Config): readonly StoragePlace[];
  /** Directories in `data_dir` that it puts messages in, which may be file systems of their own; absent: none. */
  dataPlaces?(config: Config): readonly { readonly name: string; readonly path: string }[];
  /** Octets that must stay free where it stores. */
  minFreeSpace(config: Config): number;
  /** Whether it receives the machine's routes and addresses while it runs. */
  readonly seesNetwork: boolean;
  /** Its systemd unit. */
  readonly unit: ServerUnit;
  /** Loads what runs in its thread. */
  load(): Promise<RunServer>;
}

/** What is particular to a server's systemd unit. */
export interface ServerUnit {
  /** Without `.service`. */
  readonly name: string;
  /** For `Description=`. */
  readonly description: string;
  /** Its umask, in octal digits. */
  readonly umask: string;
  /** Directories that it writes to. */
  writable(config: Config, options: UnitPlaces): readonly string[];
  /** The directories hidden from it: those of the other servers. */
  hidden(config: Config, options: UnitPlaces): readonly string[];
  /** Further settings of `[Service]`. */
  readonly settings: readonly string[];
}

/** Paths that units need. */
export interface UnitPlaces {
  /** The directory that all Maildirs are in. */
  readonly mailRoot: string;
}
