/**
 * What a server is to the program that runs it. Each has one file that says all of this (`serve_in.ts`, `serve_out.ts`)
 * and a line in `servers.ts`; whatever starts, confines, reloads, checks or installs servers goes by these.
 *
 * @module
 */
import type { Config } from "../config/config.ts";
import type { ReadFile, StoragePlace } from "../doctor/checks/storage.ts";
import type { DnsServer } from "../dns/wire_client.ts";
import type { ListenAddress, NetworkIo } from "../net/interfaces.ts";
import type { Grants } from "./grants.ts";
import type { Endpoint } from "./listeners.ts";
import type { RunServer, ServerName, ServerStart } from "./server_start.ts";

/** What a server's grants depend on beside the configuration. */
export interface GrantOptions {
  /** To be read again at a reload. */
  readonly configFile: string;
  /** Where it listens; see {@linkcode Server.addresses}. */
  readonly addresses: readonly string[];
  /** Whom it asks, if it does; see {@linkcode Server.asksDns}. */
  readonly dnsServers: readonly DnsServer[];
}

/** One of the servers. */
export interface Server {
  /** As on the command line, and the table of the configuration. */
  readonly name: ServerName;
  /** Whether it can do nothing with the defaults alone. */
  readonly needsConfigFile: boolean;
  /** Whether this configuration has it serve; what is installed and looked after. */
  isConfigured(config: Config): boolean;
  /**
   * Holds up a configuration that it cannot serve with.
   * @throws {ConfigError}
   */
  check(config: Config): void;
  /** What it makes for itself only in `data_dir`, by name. */
  directories(config: Config): readonly string[];
  /** Taken off the modes of what it makes; absent: as the process has it. */
  readonly umask?: number;
  /** Does what takes all permissions, before it has its grants. */
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
  /** Whether it is told of the DNS servers before it has its grants, as it may ask no others; absent: no. */
  asksDns?(config: Config): boolean;
  /** What its thread may touch. */
  grants(config: Config, options: GrantOptions): Grants;
  /** Whether it shows the certificate of `[tls]`; absent: no. */
  readonly usesCertificate?: true;
  /** The files that it reads at its start, and does not start without. */
  readFiles(config: Config): readonly ReadFile[];
  /**
   * Where it puts mail, beside `data_dir`; without a place it starts, and puts mail off.
   * @throws {ConfigError}
   */
  mailPlaces(config: Config): readonly StoragePlace[];
  /** Directories in `data_dir` that it puts messages in, which may be file systems of their own; absent: none. */
  dataPlaces?(config: Config): readonly { readonly name: string; readonly path: string }[];
  /** Octets that must stay free where it stores. */
  minFreeSpace(config: Config): number;
  /** Whether it is told of the machine's routes and addresses while it runs. */
  readonly seesNetwork: boolean;
  /** Its systemd unit. */
  readonly unit: ServerUnit;
  /** Loads what runs in its thread. */
  load(): Promise<RunServer>;
}

/** What a server's systemd unit has of its own. */
export interface ServerUnit {
  /** Without `.service`. */
  readonly name: string;
  /** For `Description=`. */
  readonly description: string;
  /** The mask for what it makes, in octal digits. */
  readonly umask: string;
  /** Directories that it writes to. */
  writable(config: Config, options: UnitPlaces): readonly string[];
  /** What is hidden from it: the directories of the others. */
  hidden(config: Config, options: UnitPlaces): readonly string[];
  /** Further settings of `[Service]`. */
  readonly settings: readonly string[];
}

/** Where things are that units are about. */
export interface UnitPlaces {
  /** The directory that all Maildirs are in. */
  readonly mailRoot: string;
}
