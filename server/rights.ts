/**
 * Rights of files and directories that are wider than a server's secrets and its mail allow.
 *
 * @module
 */
import { join } from "@std/path";
import type { Config } from "../config/config.ts";
import { mailRootOf } from "../maildir/mailboxes.ts";
import { ACCOUNTS_DIRECTORY, accountsPath } from "./accounts_path.ts";
import { CommandError, EXIT } from "./exit_codes.ts";

const OTHERS = 0o007;
const OTHERS_WRITE = 0o002;
const STICKY = 0o1000;

/**
 * What every account of the machine can read or change and should not, one line each: the TLS key, the accounts, the
 * configuration, the data directory with what lies in it, the directory of Maildirs. Keys of DKIM and password files
 * are looked at where they are read. What cannot be looked at is left out.
 */
export async function rightsWarnings(config: Config): Promise<string[]> {
  const { dataDir, file, tls: { certificate }, mailboxes } = config;
  const names = ["spool", "dkim", "tls", "incoming", ACCOUNTS_DIRECTORY];
  const directories = [dataDir, ...names.map((name) => join(dataDir, name))];
  const warnings = await Promise.all([
    ...(certificate === undefined ? [] : [secretWarning("[tls] key", certificate.keyFile)]),
    secretWarning("the accounts", accountsPath(config)),
    secretWarning("[tls] self_signed", join(dataDir, "tls", "selfsigned.key")),
    ...(file === undefined ? [] : [writeWarning("the configuration", file)]),
    ...directories.map((path) => writeWarning("data_dir", path)),
    writeWarning("[mailboxes] path", mailRootOf(mailboxes.path)),
  ]);
  return warnings.flatMap((warning) => warning ?? []);
}

async function secretWarning(what: string, path: string): Promise<string | undefined> {
  const mode = await modeOf(path);
  if (mode === undefined || (mode & OTHERS) === 0) return undefined;
  return `${what}: every account can ${mode & OTHERS_WRITE ? "change" : "read"} it: chmod o= ${path}`;
}

async function writeWarning(what: string, path: string): Promise<string | undefined> {
  const mode = await modeOf(path);
  if (mode === undefined || (mode & OTHERS_WRITE) === 0 || (mode & STICKY) !== 0) return undefined;
  return `${what}: every account can change it: chmod o-w ${path}`;
}

async function modeOf(path: string): Promise<number | undefined> {
  const info = await Deno.stat(path).catch(() => undefined);
  return info?.mode ?? undefined;
}

/**
 * Keeps root from serving in a data directory of another account, which could not use what root leaves there.
 * @throws {CommandError}
 */
export async function refuseForeignDataDir({ dataDir }: Config, unit: string): Promise<void> {
  if (Deno.uid() !== 0) return;
  const info = await Deno.stat(dataDir).catch(() => undefined);
  if (!info?.uid) return;
  const account = `--reuid ${info.uid} --regid ${info.gid ?? info.uid} --clear-groups`;
  throw new CommandError(
    `data_dir = ${
      JSON.stringify(dataDir)
    } belongs to account ${info.uid}, which could not use what root leaves ` +
      `there: systemctl start ${unit}, or as that account: setpriv ${account} mailapp …`,
    EXIT.noPermission,
  );
}
