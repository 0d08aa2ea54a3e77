/**
 * Whether the servers can store and read: directories, files, their account, free space.
 *
 * @module
 */
import { dirname } from "@std/path";
import { type FreeRoom, freeRoom, lacksFiles } from "../../storage/free_space.ts";
import { isMountedReadOnly } from "../../storage/mounts.ts";
import { findForeign } from "../../storage/owners.ts";
import { type AskRights, examinePaths, type PathAccess } from "../../storage/path_access.ts";
import { StorageError } from "../../storage/storage_error.ts";
import { shellWord } from "../../base/shell_word.ts";
import { failure, type Finding, ok, untested, warning } from "../finding.ts";

/** A directory that a server writes to, or a file that it appends to. */
export interface StoragePlace {
  /** What it is, such as `data_dir`. */
  readonly name: string;
  /** Where. */
  readonly path: string;
  /** Octets that must stay free; 0: space is checked with another place. */
  readonly minFreeSpace: number;
  /** Whether it exists on every machine that has been set up; if not, the path is probably mistyped. */
  readonly expected?: boolean;
  /** The mode that a directory of its kind has; absent for files. */
  readonly mode?: number;
  /** It is one mailbox's: others are not concerned if it is full, and `min_free_space` does not count. */
  readonly single?: true;
  /** It is checked only if it is on another file system than this directory, which is checked as well. */
  readonly apartFrom?: string;
}

/** A file that a server reads. */
export interface ReadFile {
  /** What it is, such as `[tls] key`. */
  readonly name: string;
  /** Where. */
  readonly path: string;
}

/** An account. */
export interface ServiceAccount {
  /** Its name in passwd. */
  readonly name: string;
  /** Its user id. */
  readonly uid: number;
  /** Its group id. */
  readonly gid: number;
}

/** The account that tests access. */
export interface StorageTester {
  /** For people, such as `the account mailapp`. */
  readonly who: string;
  /** Whether that is the servers' account; otherwise findings may be wrong. */
  readonly certain: boolean;
  /** The account of the servers, if known. */
  readonly account?: ServiceAccount;
  /** Tests access. */
  readonly ask: AskRights;
}

/** The input of the check. */
export interface StorageCheck {
  /** Written to. */
  readonly places: readonly StoragePlace[];
  /** Read. */
  readonly files: readonly ReadFile[];
  /** Directories in which the servers make everything themselves. */
  readonly kept?: readonly string[];
  /** The account that tests access. */
  readonly tester: StorageTester;
}

/** Checks that the servers can write and read what they need, and that there is free space. */
export async function checkStorage(
  { places: all, files, kept = [], tester }: StorageCheck,
): Promise<Finding[]> {
  const places = (await Promise.all(all.map(async (place) => await isApart(place) ? [place] : []))).flat();
  const paths = [...places, ...files].map(({ path }) => path);
  const access = await examinePaths(paths, tester.ask);
  const findings: Finding[] = [];
  for (const place of places) {
    const found = access.get(place.path);
    const wrong = found && await writing(place, { access: found, tester });
    if (wrong !== undefined) findings.push(wrong);
    const space = place.minFreeSpace === 0 ? undefined : await checkSpace(place);
    if (space !== undefined) findings.push(space);
  }
  for (const file of files) {
    const found = access.get(file.path);
    const wrong = found && reading(file, { access: found, tester });
    if (wrong !== undefined) findings.push(wrong);
  }
  for (const directory of kept) {
    const wrong = owning(directory, tester);
    if (wrong !== undefined) findings.push(wrong);
  }
  // Many Maildirs share one cause.
  const unique = findings.filter(({ id, subject }, index) =>
    findings.findIndex((other) => other.id === id && other.subject === subject) === index
  );
  if (unique.length > 0) return unique;
  return [
    ok(
      "storage",
      places[0]?.path ?? "",
      `${tester.who} may write where the servers write, and there is enough space`,
    ),
  ];
}

/** Whether a place is to be checked: it is on a file system of its own, if that counts. */
export async function isApart(
  { path, apartFrom }: Pick<StoragePlace, "path" | "apartFrom">,
): Promise<boolean> {
  if (apartFrom === undefined) return true;
  const [own, other] = await Promise.all(
    [path, apartFrom].map((one) => Deno.stat(one).catch(() => undefined)),
  );
  return own !== undefined && other !== undefined && own.dev !== other.dev;
}

interface Found {
  readonly access: PathAccess;
  readonly tester: StorageTester;
}

async function writing(place: StoragePlace, { access, tester }: Found): Promise<Finding | undefined> {
  const { name, path, mode: usualMode, expected = false } = place;
  const { who, account } = tester;
  const owner = account?.name ?? "ACCOUNT";
  const isFile = usualMode === undefined;
  if (access.kind === "closed") return notEntered(name, { path, at: access.at, tester });
  if (access.kind === "blocked") return notDirectory(name, { path, at: access.at });
  if (access.kind === "missing") {
    const { first, parent, canMake } = access;
    const directory = isFile ? dirname(path) : path;
    const make =
      `If the path is right, mailapp install creates it; by hand: install -d -o ${owner} -g ${owner} -m ${
        (usualMode ?? 0o2750).toString(8)
      } ${directory}`;
    // The directory of a file is never created.
    if (isFile && first !== path) {
      return bad(tester, "storage.missing", first, {
        what: `${name}: there is no directory ${directory}`,
        next: make,
      });
    }
    if (!canMake && await isMountedReadOnly(parent)) return onReadOnly(name, { path: parent, tester });
    if (!canMake) {
      const what = `${name}: ${path} is not there, and ${who} cannot make ${
        first === path ? "it" : first
      } in ${parent}`;
      return bad(tester, "storage.missing", first, { what, next: make });
    }
    if (!expected) return undefined;
    return warning("storage.missing", path, {
      what: `${name}: ${path} is not there yet; the servers make it when they start`,
      next: "If that is not intended, correct the path. mailapp install creates it.",
    });
  }
  if (!isFile && !access.directory) return notDirectory(name, { path, at: path });
  if (isFile && access.directory) {
    return failure("storage.directory", path, {
      what: `${name}: ${path} is a directory`,
      next: "Name a file in it.",
    });
  }
  if (await isMountedReadOnly(path)) return onReadOnly(name, { path, tester });
  if (access.write && (isFile || access.search)) return undefined;
  const info = await Deno.stat(path).catch(() => undefined);
  const mode = info?.mode ?? null;
  const bits = mode === null ? "" : `, mode ${(mode & 0o7777).toString(8)}`;
  return bad(tester, "storage.unwritable", path, {
    what: `${name}: ${who} may not write to ${path}, which belongs to ${info?.uid}:${info?.gid}${bits}`,
    next: `chown -R ${owner}:${owner} ${path}`,
  });
}

function reading({ name, path }: ReadFile, { access, tester }: Found): Finding | undefined {
  const { who, account } = tester;
  if (access.kind === "closed") return notEntered(name, { path, at: access.at, tester });
  // Missing files are reported by their loaders.
  if (access.kind !== "there" || access.read) return undefined;
  return bad(tester, "storage.unreadable", path, {
    what: `${name}: ${who} may not read ${path}`,
    next: `chgrp ${account?.name ?? "GROUP"} ${path} && chmod g+r ${path}`,
  });
}

/** What a restored copy has of another account can be neither read nor removed. */
function owning(directory: string, { account, certain }: StorageTester): Finding | undefined {
  const foreign = account && certain ? findForeign(directory, account.uid) : undefined;
  if (account === undefined || foreign === undefined) return undefined;
  const { count, example: { path, uid } } = foreign;
  const what = count === 1 ? `${path} belongs` : `${count} files and directories, such as ${path}, belong`;
  const owner = `${account.name}:${account.name}`;
  return failure("storage.foreign", directory, {
    what: `${what} to another account (${uid}), and ${account.name} may be unable to use it`,
    next: `chown -R ${owner} ${shellWord(directory)}, and restart the servers.`,
  });
}

function onReadOnly(
  name: string,
  { path, tester }: { readonly path: string; readonly tester: StorageTester },
): Finding {
  return bad(tester, "storage.read-only", path, {
    what: `${name}: ${path} is on a file system that is mounted read-only here`,
    next:
      "findmnt -T shows which; if a systemd unit is the cause: mailapp install, then restart the server. After " +
      "an error of the disk, which dmesg shows, it takes fsck before it can be mounted for writing again.",
  });
}

function notDirectory(name: string, { path, at }: { readonly path: string; readonly at: string }): Finding {
  return failure("storage.no-directory", at, {
    what: `${name}: ${path} cannot exist, since ${at} is not a directory`,
    next: "Name another path, or move that file away.",
  });
}

function notEntered(
  name: string,
  { path, at, tester }: { readonly path: string; readonly at: string; readonly tester: StorageTester },
): Finding {
  return bad(tester, "storage.closed", at, {
    what: `${name}: ${tester.who} may not enter ${at}, and so cannot use ${path}`,
    next: `Allow it: chmod a+x ${at}; or choose a path elsewhere.`,
  });
}

/** A failure if it is certain that the servers use this account. */
function bad(
  { certain }: StorageTester,
  id: string,
  subject: string,
  words: { readonly what: string; readonly next: string },
): Finding {
  if (certain) return failure(id, subject, words);
  return untested(id, subject, {
    what: `${words.what}; the servers may use another account`,
    next: "Run this as root, or as the account of the servers.",
  });
}

/** A file system of one mailbox is filling below so many times its least free space. */
const SINGLE_FILLING = 10;

/** A finding if free space is below or near its limit. */
export async function checkSpace(
  { name, path, minFreeSpace, single }: StoragePlace,
): Promise<Finding | undefined> {
  let room: FreeRoom;
  try {
    room = await freeRoom(path);
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
    return untested("storage.space", path, { what: `its free space cannot be read: ${error.message}` });
  }
  if (room.files !== undefined && lacksFiles(room)) {
    const { free, total } = room.files;
    return failure("storage.full", path, {
      what: `where ${name} is, ${free} of ${total} files (inodes) can still be made: mail is deferred`,
      next:
        "Remove files, or recreate the file system with more inodes: df -i and du --inodes -x show what fills it.",
    });
  }
  const free = room.octets;
  const next = "Free some space, or enlarge the disk: df -h and du -xh show what fills it.";
  if (single) {
    if (free >= SINGLE_FILLING * minFreeSpace) return undefined;
    const own = `${
      mebibytes(free)
    } free where ${name} is, on a file system of its own: mail for it is deferred`;
    return free < minFreeSpace
      ? failure("storage.full", path, { what: own, next })
      : warning("storage.filling", path, { what: `${own} once that is full`, next });
  }
  const shown = `${mebibytes(free)} free where ${name} is, and ${mebibytes(minFreeSpace)} must stay free ` +
    "(min_free_space)";
  if (free < minFreeSpace) {
    return failure("storage.full", path, { what: `${shown}: mail is deferred`, next });
  }
  if (free < 2 * minFreeSpace) return warning("storage.filling", path, { what: shown, next });
  return undefined;
}

function mebibytes(octets: number): string {
  return `${Math.floor(octets / (1 << 20))} MiB`;
}
