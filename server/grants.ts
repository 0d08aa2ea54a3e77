/**
 * What a server may touch once it runs, and what a new configuration needs beyond that.
 *
 * @module
 */
import type { Config } from "../config/config.ts";
import { ConfigError } from "../config/errors.ts";

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

/** Where `users = "system"` looks. */
export const PASSWD_FILE = "/etc/passwd";

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

/** Whether a path is this directory, or in it. */
export function isWithin(path: string, directory: string): boolean {
  return path === directory || path.startsWith(directory.endsWith("/") ? directory : `${directory}/`);
}

/** The log's file, if it has one. */
export function logFile({ log }: Config): string[] {
  return log.file === undefined ? [] : [log.file];
}
