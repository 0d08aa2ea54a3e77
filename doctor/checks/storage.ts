/**
 * Whether the servers can store: directories, accounts, room.
 *
 * @module
 */
import { constants } from "node:fs";
import { checkAccess, nearestExisting } from "../../storage/check_access.ts";
import { freeSpace } from "../../storage/free_space.ts";
import { StorageError } from "../../storage/storage_error.ts";
import { failure, type Finding, ok, untested, warning } from "../finding.ts";
import { errorText } from "../../base/error_text.ts";

/** A directory that a server writes to. */
export interface StoragePlace {
  /** What it is, such as `data_dir`. */
  readonly name: string;
  /** Where. */
  readonly path: string;
  /** Octets that must stay free. */
  readonly minFreeSpace: number;
}

/** An account. */
export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/**
 * Checks that the places can be written to, and have room.
 * @param servers the account that the servers have as services; absent where there is none. Only root asks for it.
 */
export async function checkStorage(
  places: readonly StoragePlace[],
  { servers }: { readonly servers?: Account | undefined } = {},
): Promise<Finding[]> {
  const findings = (await Promise.all(places.map((place) => checkPlace(place, servers)))).flat();
  // One account has them all, as a rule, and is named once.
  return findings.filter(({ id, next }, index) =>
    id !== "storage.account" ||
    findings.findIndex((other) => other.id === id && other.next === next) === index
  );
}

async function checkPlace(place: StoragePlace, servers: Account | undefined): Promise<Finding[]> {
  const { name, path } = place;
  const at = await nearestExisting(path);
  const findings: Finding[] = [];
  try {
    await checkAccess(at, constants.W_OK | constants.X_OK);
    if (Deno.uid() === 0 && at === path) findings.push(...await checkOwner(path, servers));
  } catch (error) {
    const reason = errorText(error);
    findings.push(warning("storage.unwritable", path, {
      what: `${name} is not writable for uid ${Deno.uid()}: ${reason}`,
      next:
        "Run doctor as the servers' account; if it says the same then, give that account the directory (chown).",
    }));
  }
  const space = await checkSpace(place);
  if (space !== undefined) findings.push(space);
  return findings.length > 0 ? findings : [ok("storage", path, `${name} is writable and has room`)];
}

/** What root cannot see by trying, since it may write everywhere. */
async function checkOwner(path: string, servers: Account | undefined): Promise<Finding[]> {
  const { uid, gid, mode } = await Deno.stat(path);
  if (servers !== undefined) {
    const shift = uid === servers.uid ? 6 : gid === servers.gid ? 3 : 0;
    if (((mode ?? 0) >> shift & 0o3) === 0o3) return [];
  }
  if (uid !== 0) {
    return [untested("storage.account", path, {
      what: `belongs to uid ${uid}; whether that is the servers' account cannot be told as root`,
      // Every Debian has it, unlike sudo.
      next: `setpriv --reuid=${uid} --regid=${gid} --clear-groups mailapp doctor`,
    })];
  }
  if (servers === undefined) return [];
  return [warning("storage.unwritable", path, {
    what: `belongs to root, and the servers' account ${servers.name} may not write there`,
    next: `chown -R ${servers.name}:${servers.name} ${path}`,
  })];
}

/** A finding where there is less room than must stay free, or nearly so. */
export async function checkSpace({ name, path, minFreeSpace }: StoragePlace): Promise<Finding | undefined> {
  let free: number;
  try {
    free = await freeSpace(path);
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
    return untested("storage.space", path, { what: `its free space cannot be told: ${error.message}` });
  }
  const next = "Make room, or enlarge the disk: df -h and du -xh show what fills it.";
  const shown = `${mebibytes(free)} free where ${name} is, and ${mebibytes(minFreeSpace)} must stay free ` +
    "(min_free_space)";
  if (free < minFreeSpace) {
    return failure("storage.full", path, { what: `${shown}: mail is put off`, next });
  }
  if (free < 2 * minFreeSpace) return warning("storage.filling", path, { what: shown, next });
  return undefined;
}

function mebibytes(octets: number): string {
  return `${Math.floor(octets / (1 << 20))} MiB`;
}
