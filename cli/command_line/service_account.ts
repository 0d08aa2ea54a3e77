/**
 * The account of the servers as services, and its rights: root would not notice missing ones by trying itself.
 *
 * @module
 */
import type { Config } from "../../config/config.ts";
import type { ServiceAccount, StorageTester } from "../../doctor/checks/storage.ts";
import type { AskRights, PathRights } from "../../storage/path_access.ts";
import { runSystemCommand } from "./system_commands.ts";

/** The account and the group of both servers, as `install` makes them. */
export const SERVICE_ACCOUNT = "mailapp";

const UNITS = ["/etc/systemd/system/mailapp-out.service", "/etc/systemd/system/mailapp-in.service"];

/** The ids of an account, as the passwd file below `prefix` has them; `undefined` where there is no such account. */
export async function accountOf(
  prefix: string,
  name: string | number = SERVICE_ACCOUNT,
): Promise<ServiceAccount | undefined> {
  for (const line of (await readIfThere(`${prefix}/etc/passwd`)).split("\n")) {
    const [found = "", , uid, gid] = line.split(":");
    if (uid === undefined || gid === undefined) continue;
    if (found === name || Number(uid) === name) return { name: found, uid: Number(uid), gid: Number(gid) };
  }
  return undefined;
}

/**
 * The account of the servers: that of their units, or else the one that `install` makes, or else the owner of the data
 * directory. `undefined`: no account but root's is known.
 */
export async function serviceAccount(
  { dataDir }: Pick<Config, "dataDir">,
): Promise<ServiceAccount | undefined> {
  const configured = await unitAccount();
  const account = await accountOf("", configured) ?? await accountOf("");
  if (account !== undefined) return account.uid === 0 ? undefined : account;
  const { uid, gid } = await Deno.stat(dataDir).catch(() => ({ uid: 0, gid: 0 }));
  if (!uid || gid === null) return undefined;
  return await accountOf("", uid) ?? { name: String(uid), uid, gid };
}

/** The last `User=` of a unit and its drop-ins. */
async function unitAccount(): Promise<string> {
  for (const unit of UNITS) {
    const directory = `${unit}.d`;
    const dropIns = await Array.fromAsync(Deno.readDir(directory), ({ name }) => name).catch(() => []);
    const files = [
      unit,
      ...dropIns.filter((name) => name.endsWith(".conf")).sort().map((name) => `${directory}/${name}`),
    ];
    const texts = await Promise.all(files.map(readIfThere));
    const [, name] = [...texts.join("\n").matchAll(/(?<![^\n])User=(\S+)(?![^\n])/g)].at(-1) ?? [];
    if (name !== undefined) return name;
  }
  return SERVICE_ACCOUNT;
}

async function readIfThere(path: string): Promise<string> {
  return await Deno.readTextFile(path).catch(() => "");
}

/** The account that tests the paths of this configuration: for root that of the servers, else this account itself. */
export async function storageTester(config: Pick<Config, "dataDir">): Promise<StorageTester> {
  const account = await serviceAccount(config);
  const uid = Deno.uid() ?? 0;
  if (uid === 0) {
    return {
      who: account === undefined ? "root" : `the account ${account.name}`,
      certain: true,
      ...(account && { account }),
      ask: askRights(account),
    };
  }
  const own = await accountOf("", uid);
  return {
    who: `the account ${own?.name ?? uid}`,
    certain: account === undefined || account.uid === uid,
    ...(account && { account }),
    ask: askRights(undefined),
  };
}

// A letter for each that is true. test(1) asks the kernel, which knows of access control lists and read-only mounts.
const SCRIPT = `for path do
  [ -e "$path" ] && printf e; [ -d "$path" ] && printf d; [ -r "$path" ] && printf r; [ -w "$path" ] && printf w; [ -x "$path" ] && printf x
  echo
done`;
/** Paths that one process is asked about. */
const AT_ONCE = 200;

/** Asks on behalf of an account with all its groups; absent: of this one. */
function askRights(account: ServiceAccount | undefined): AskRights {
  return async (paths) => {
    const rights: PathRights[] = [];
    for (let from = 0; from < paths.length; from += AT_ONCE) {
      const some = paths.slice(from, from + AT_ONCE);
      rights.push(...await ask(some, account));
    }
    return rights;
  };
}

async function ask(paths: readonly string[], account: ServiceAccount | undefined): Promise<PathRights[]> {
  const sh = ["sh", "-c", SCRIPT, "sh", ...paths];
  // An account without a line in passwd, as in a container, has no other groups.
  const groups = account?.name === String(account?.uid) ? "--clear-groups" : "--init-groups";
  const [program = "", ...args] = account === undefined
    ? sh
    : ["setpriv", `--reuid=${account.uid}`, `--regid=${account.gid}`, groups, "--", ...sh];
  const { code, stdout, stderr } = await runSystemCommand(program, { args });
  const lines = stdout.split("\n").slice(0, -1);
  if (lines.length !== paths.length) {
    throw new Error(
      `${program} cannot test paths: ${
        code === undefined ? "it is not there" : stderr || `exit code ${code}`
      }`,
    );
  }
  return lines.map((line) => ({
    exists: line.includes("e"),
    directory: line.includes("d"),
    read: line.includes("r"),
    write: line.includes("w"),
    search: line.includes("x"),
  }));
}
