/**
 * What each server may touch once it runs.
 *
 * @module
 */
import { dirname, join } from "@std/path";
import type { Config } from "../config/config.ts";
import { ConfigError } from "../config/errors.ts";
import { showEndpoint } from "../net/listen.ts";
import { incomingDirectory } from "./parts.ts";

/** What a thread may touch. Programs, libraries, environment and imports are never among it. */
export interface Grants {
  /** `true`: every address; else addresses with ports, to listen on and to connect to. */
  readonly net: true | readonly string[];
  /** Files, and directories with all that is in them; what a symbolic link there leads to, too. */
  readonly read: readonly string[];
  /** As `read`. */
  readonly write: readonly string[];
  /** Questions to the system, by Deno's names. */
  readonly sys: readonly string[];
}

const PASSWD_FILE = "/etc/passwd";

/**
 * For serve-in: its Maildirs, its ports, its certificate. Of the data directory only its own rooms: the spool and
 * the DKIM keys in there are serve-out's.
 * @param options `configFile`: to be read again; `mailRoot`: the directory that all Maildirs are in; `addresses`:
 * where it listens
 */
export function serveInGrants(
  config: Config,
  { configFile, mailRoot, addresses }: {
    readonly configFile: string;
    readonly mailRoot: string;
    readonly addresses: readonly string[];
  },
): Grants {
  const { dataDir, tls: { certificate, selfSigned }, serveIn, mailboxes } = config;
  const own = [mailRoot, incomingDirectory(config), ...(selfSigned ? [join(dataDir, "tls")] : [])];
  const hasTlsPort = serveIn.tlsPort !== false && (certificate !== undefined || selfSigned);
  const ports = [serveIn.port, ...(hasTlsPort ? [Number(serveIn.tlsPort)] : [])];
  return {
    net: addresses.flatMap((address) => ports.map((port) => showEndpoint(address, port))),
    read: [
      ...own,
      configFile,
      ...(certificate === undefined ? [] : [certificate.certFile, certificate.keyFile]),
      ...(mailboxes.users === "system" ? [PASSWD_FILE] : []),
    ],
    write: [...own, ...logFile(config)],
    sys: ["statfs", "uid"],
  };
}

/**
 * For serve-out: its data directory, its secrets, and the whole network, as its targets may be anywhere.
 * @param options `configFile`: to be read again
 */
export function serveOutGrants(config: Config, { configFile }: { readonly configFile: string }): Grants {
  const { dataDir, dkim, dns, serveOut } = config;
  const passwords = Object.values(serveOut.routes).flatMap(({ login }) => login?.passwordFile ?? []);
  return {
    net: true,
    read: [
      dataDir,
      configFile,
      ...passwords,
      ...Object.values(dkim).flat().map(({ keyFile }) => keyRoom(keyFile)),
      ...(dns.servers.length === 0 ? ["/etc/resolv.conf"] : []),
    ],
    write: [dataDir, ...logFile(config)],
    sys: ["networkInterfaces", "statfs", "umask"],
  };
}

/** A setting of a new configuration that needs a file which the running server may not touch. */
export interface Beyond {
  /** The setting. */
  readonly key: string;
  /** The file. */
  readonly path: string;
}

/** What the mailboxes of a new configuration need beyond the grants of the running server; `undefined`: nothing. */
export function mailboxesBeyond(
  { read, write }: Grants,
  { path, users }: Config["mailboxes"],
): Beyond | undefined {
  if (!write.some((granted) => isWithin(path, granted))) return { key: "mailboxes.path", path };
  return users === "system" && !read.includes(PASSWD_FILE)
    ? { key: "mailboxes.users", path: PASSWD_FILE }
    : undefined;
}

/** The same of its DKIM keys. */
export function keysBeyond({ read }: Grants, dkim: Config["dkim"]): Beyond | undefined {
  for (const [domain, keys] of Object.entries(dkim)) {
    for (const { keyFile } of keys) {
      if (!read.some((granted) => isWithin(keyFile, granted))) {
        return { key: `dkim.${JSON.stringify(domain)}.key`, path: keyFile };
      }
    }
  }
  return undefined;
}

/**
 * Refuses a new configuration that only a restart can bring.
 * @throws {ConfigError}
 */
export function requireNothingBeyond(beyond: Beyond | undefined, { file }: Config): void {
  if (beyond === undefined) return;
  const problem = `needs ${beyond.path}, which the running server may not touch: restart it`;
  throw new ConfigError(file, [{ key: beyond.key, problem }]);
}

function isWithin(path: string, directory: string): boolean {
  return path === directory || path.startsWith(directory.endsWith("/") ? directory : `${directory}/`);
}

function logFile({ log }: Config): string[] {
  return log.file === undefined ? [] : [log.file];
}

/** The directory of a key, for the next one lies beside it; the key alone where that were all of /etc. */
function keyRoom(keyFile: string): string {
  const directory = dirname(keyFile);
  return dirname(directory) === "/" ? keyFile : directory;
}
