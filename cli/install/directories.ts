/**
 * The directories of an installation, and their owners.
 *
 * @module
 */
import { lchown } from "node:fs/promises";
import { dirname, join, relative } from "@std/path";
import type { ServiceAccount } from "../../doctor/checks/storage.ts";
import { MAILDROP_MODE, maildropDirectory, maildropFault } from "../../relay/maildrop/directory.ts";
import { ACCOUNTS_DIRECTORY } from "../../server/accounts_path.ts";
import { DATA_MODE, openMailboxes } from "../../server/parts.ts";
import { accountOf, SERVICE_ACCOUNT } from "../command_line/service_account.ts";
import type { Installation } from "./installation.ts";

/** Creates those for data, mail and log, for the account and its group. */
export async function makeDirectories(mailRoot: string, installation: Installation): Promise<void> {
  const { config, io, prefix } = installation;
  const account = await accountOf(prefix);
  if (account === undefined) {
    io.out(
      `${prefix}/etc/passwd has no account ${SERVICE_ACCOUNT}: systemd-sysusers creates it when the machine boots. ` +
        `Then give it its files: chown -R ${SERVICE_ACCOUNT}:${SERVICE_ACCOUNT} ${config.dataDir}\n`,
    );
  }
  const make = async (path: string, options: { readonly mode: number; readonly known?: readonly string[] }) =>
    io.out(`${prefix}${path}: ${await makeDirectory(prefix + path, { ...options, account })}\n`);
  await make(config.dataDir, { mode: DATA_MODE, known: KNOWN_DATA });
  await makeDataDirectories(prefix + config.dataDir, {
    account,
    dashboard: config.dashboard.installed,
  });
  for (const path of await mailDirectories(mailRoot, installation)) await make(path, { mode: 0o2770 });
  if (config.log.file === undefined) return;
  const logDirectory = dirname(config.log.file);
  if (logDirectory === "/var/log") {
    io.err(`[log] file: use a separate directory; ${SERVICE_ACCOUNT} cannot make files in /var/log\n`);
  } else await make(logDirectory, { mode: 0o2750 });
}

/** Directories in the data directory that no other account may enter, and units hide from other servers. */
export const DATA_DIRECTORIES: readonly string[] = [
  ACCOUNTS_DIRECTORY,
  "dkim",
  "incoming",
  "spool",
  "submit",
];

/** What may be in a data directory that root has made or restored. */
const KNOWN_DATA = [
  ACCOUNTS_DIRECTORY,
  "dkim",
  "tls",
  "incoming",
  "spool",
  "submit",
  "acme",
  "maildrop",
  "control.sock",
  "trouble.json",
  "mta-sts.json",
  "dashboard",
];

/** Creates a directory, or hands over one that root has prepared; returns what it did, in words. */
async function makeDirectory(
  path: string,
  { mode, account, known = [] }: {
    readonly mode: number;
    readonly account: ServiceAccount | undefined;
    /** What may be in it if it is to be handed over. */
    readonly known?: readonly string[];
  },
): Promise<string> {
  await Deno.mkdir(dirname(path), { recursive: true, mode: 0o755 });
  const isNew = await Deno.mkdir(path).then(() => true, (error) => {
    if (error instanceof Deno.errors.AlreadyExists) return false;
    throw error;
  });
  const { uid, gid } = await Deno.lstat(path);
  const theirs = account === undefined ? !isNew : !isNew && uid === account.uid && gid === account.gid;
  if (theirs) return "there already";
  if (!isNew) {
    if (uid !== 0) return `left as it is, but it belongs to uid ${uid}, not to ${SERVICE_ACCOUNT}`;
    const inside = await Array.fromAsync(Deno.readDir(path), ({ name }) => name);
    const strange = inside.find((name) => !known.includes(name));
    if (strange !== undefined) {
      return `left as it is, with ${strange} in it, but it belongs to root, not to ${SERVICE_ACCOUNT}`;
    }
  }
  if (account !== undefined) await handOver(path, account);
  await Deno.chmod(path, mode);
  return isNew ? "made" : `handed over to ${SERVICE_ACCOUNT}`;
}

/** The directories that units hide from other servers; a unit can hide only what exists when it starts. */
async function makeDataDirectories(
  dataDir: string,
  { account, dashboard }: { readonly account: ServiceAccount | undefined; readonly dashboard: boolean },
): Promise<void> {
  if (account !== undefined && (await Deno.lstat(dataDir)).uid !== account.uid) return;
  for (const room of [...DATA_DIRECTORIES, ...dashboard ? ["dashboard"] : []]) {
    const path = join(dataDir, room);
    try {
      await Deno.mkdir(path, { mode: 0o700 });
    } catch (error) {
      if (error instanceof Deno.errors.AlreadyExists) continue;
      throw error;
    }
    if (account !== undefined) await lchown(path, account.uid, account.gid);
  }
  // A unit may not create setgid directories; and those of an older version cannot be traversed.
  const maildrop = maildropDirectory(dataDir);
  const isNew = await Deno.mkdir(maildrop, { mode: 0o700 }).then(() => true, () => false);
  if (isNew && account !== undefined) await lchown(maildrop, account.uid, account.gid);
  const info = await Deno.lstat(maildrop);
  if (info.isDirectory && maildropFault(info) !== undefined) await Deno.chmod(maildrop, MAILDROP_MODE);
  const { mode } = await Deno.lstat(dataDir);
  await Deno.chmod(dataDir, (mode ?? DATA_MODE) & 0o7777 | 0o001);
}

/** The root of the Maildirs; if that is a system directory, such as /var/mail, the directories below it. */
async function mailDirectories(mailRoot: string, { config, prefix }: Installation): Promise<string[]> {
  if (config.serveIn.domains.length === 0) return [];
  const root = await Deno.stat(prefix + mailRoot).catch(() => undefined);
  const account = await accountOf(prefix);
  if (root === undefined || (account !== undefined && root.uid === account.uid)) return [mailRoot];
  const below = openMailboxes(config).all().flatMap(({ path }) => {
    const [first = "", ...rest] = relative(mailRoot, path).split("/");
    // Maildirs and home directories are not created here.
    return rest.length === 0 ? [] : [join(mailRoot, first)];
  });
  return [...new Set(below)];
}

async function handOver(path: string, account: ServiceAccount): Promise<void> {
  await lchown(path, account.uid, account.gid);
  for await (const { name, isDirectory } of Deno.readDir(path)) {
    const inside = join(path, name);
    if (isDirectory) await handOver(inside, account);
    else await lchown(inside, account.uid, account.gid);
  }
}
