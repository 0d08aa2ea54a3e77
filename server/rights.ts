/**
 * The rights of everything a configuration names that is secret, or that others could change to take control:
 * one table, for the servers, `check-config` and `doctor`.
 *
 * @module
 */
import { join } from "@std/path";
import type { Config } from "../config/config.ts";
import { mailRootOf } from "../maildir/mailboxes.ts";
import { CONTROL_SOCKET } from "../relay/control_socket.ts";
import { maildropDirectory } from "../relay/maildrop/directory.ts";
import { findWideRights, type GuardedPath } from "../storage/file_rights.ts";
import { ACCOUNTS_DIRECTORY, accountsPath } from "./accounts_path.ts";
import { CommandError, EXIT } from "./exit_codes.ts";
import { type Grants, unreadable } from "./grants.ts";

/** Permission bits of accounts that are neither the owner nor in the group. */
const NOTHING = 0;
const ENTER = 0o1;
const READ = 0o4;
const LIST = READ | ENTER;

/** Directories in the data directory that are closed to others. */
const SUBDIRECTORIES = ["spool", "dkim", "tls", "incoming", "submit", "acme", ACCOUNTS_DIRECTORY];

/** The table. Missing files are skipped. */
export function guardedPaths(config: Config): GuardedPath[] {
  const { alerts, dataDir, file, log, metrics, queue, tls: { certificate, acme }, mailboxes } = config;
  const secret = (what: string, path: string | undefined): GuardedPath[] =>
    path === undefined ? [] : [{ what, path, others: NOTHING }];
  return [
    ...(file === undefined ? [] : [{ what: "the configuration", path: file, others: READ }]),
    ...secret("[tls] key", certificate?.keyFile),
    ...(certificate === undefined ? [] : [{ what: "[tls] cert", path: certificate.certFile, others: READ }]),
    ...secret("[tls.acme] account_key_file", acme?.externalAccount?.keyFile),
    ...secret("[tls.acme] dns.key_file", acme?.dns?.keyFile),
    ...(acme?.caFile === undefined ? [] : [{ what: "[tls.acme] ca_file", path: acme.caFile, others: READ }]),
    ...dkimKeyPaths(config),
    ...passwordPaths(config),
    ...(queue.store === "spool" ? [] : secret("[queue] url_file", queue.urlFile)),
    ...(queue.store === "spool" || queue.caFile === undefined
      ? []
      : [{ what: "[queue] ca_file", path: queue.caFile, others: READ }]),
    ...secret("[metrics] token_file", metrics.tokenFile),
    ...secret("[alerts] token_file", alerts.webhook?.tokenFile),
    ...secret("[alerts] secret_file", alerts.webhook?.secretFile),
    ...secret("[alerts] password_file", alerts.mail?.passwordFile),
    { what: "data_dir", path: dataDir, others: LIST },
    ...SUBDIRECTORIES.map((name) => ({ what: "data_dir", path: join(dataDir, name), others: NOTHING })),
    ...secret("the accounts", accountsPath(config)),
    ...secret("[tls] self_signed", join(dataDir, "tls", "selfsigned.key")),
    ...secret("the control socket", join(dataDir, CONTROL_SOCKET)),
    { what: "the maildrop", path: maildropDirectory(dataDir), others: ENTER, sharedIfSticky: true },
    { what: "[mailboxes] path", path: mailRootOf(mailboxes.path), others: LIST, sharedIfSticky: true },
    ...(log.file === undefined ? [] : [{ what: "[log] file", path: log.file, others: READ }]),
  ];
}

/** The keys of `[dkim]`. */
export function dkimKeyPaths({ dkim }: Pick<Config, "dkim">): GuardedPath[] {
  return Object.entries(dkim).flatMap(([domain, entries]) =>
    entries.map(({ keyFile }, index) => ({
      what: `dkim.${JSON.stringify(domain)}${entries.length > 1 ? `[${index}]` : ""}.key`,
      path: keyFile,
      others: NOTHING,
    }))
  );
}

/** The passwords of routes. */
function passwordPaths({ serveOut: { routes } }: Config): GuardedPath[] {
  return Object.entries(routes).flatMap(([domain, { login }]) =>
    login === undefined ? [] : [{
      what: `serve-out.routes.${JSON.stringify(domain)}.password_file`,
      path: login.passwordFile,
      others: NOTHING,
    }]
  );
}

/** Upper bound of the warnings. */
const MAX_WARNINGS = 50;

/**
 * The entries whose rights are too wide, one line each. What cannot be examined is left out.
 * @param options `grants`: those of this thread; absent: it may read everything
 */
export async function rightsWarnings(
  config: Config,
  { grants }: { readonly grants?: Grants } = {},
): Promise<string[]> {
  const maySee = (path: string) => grants === undefined || unreadable(grants, [path]) === undefined;
  return await describeWide(guardedPaths(config).filter(({ path }) => maySee(path)), { maySee });
}

/** The same for some of the table; `maySee`: as `findWideRights()` takes it. */
export async function describeWide(
  guarded: readonly GuardedPath[],
  options: { readonly maySee?: (directory: string) => boolean } = {},
): Promise<string[]> {
  const { wide } = await findWideRights(guarded, options);
  const lines = wide.slice(0, MAX_WARNINGS)
    .map(({ what, problem, remedy }) => `${what}: ${problem}: ${remedy}`);
  const more = wide.length - lines.length;
  return more === 0 ? lines : [...lines, `rights of ${more} more files are as wide`];
}

/**
 * Refuses to serve as root in a data directory of another account, which could not use root's files.
 * @throws {CommandError}
 */
export async function refuseForeignDataDir({ dataDir }: Config, unit: string): Promise<void> {
  if (Deno.uid() !== 0) return;
  // The directory itself may be root's while its contents are the service's.
  for (const path of [dataDir, ...["spool", "incoming"].map((name) => join(dataDir, name))]) {
    const info = await Deno.stat(path).catch(() => undefined);
    if (!info?.uid) continue;
    const account = `--reuid ${info.uid} --regid ${info.gid ?? info.uid} --clear-groups`;
    throw new CommandError(
      `data_dir = ${
        JSON.stringify(dataDir)
      }: ${path} belongs to account ${info.uid}, which could not use what root ` +
        `leaves there: systemctl start ${unit}, or as that account: setpriv ${account} mailapp …`,
      EXIT.noPermission,
    );
  }
}
