/**
 * The directories of a Maildir: made with the modes that its readers need, and looked at before they are trusted.
 *
 * @module
 */
import type { FileSystem } from "../storage/file_system.ts";
import { attempt, errorCode, StorageError } from "../storage/storage_error.ts";

/** The Maildir's readers are in its group, which new files take over from the directory (setgid). */
export const MAILDIR_MODE = 0o2770;

/** What tells a directory from one that was made later; inode numbers are given again. */
export interface DirectoryIdentity {
  /** Its number. */
  readonly inode: number | null;
  /** Milliseconds since the epoch, where the file system knows. */
  readonly born: number | undefined;
}

/** Whether these are the same directory; two that are not there are, too. */
export function isSame(one: DirectoryIdentity | undefined, other: DirectoryIdentity | undefined): boolean {
  return one?.inode === other?.inode && one?.born === other?.born;
}

/** Who may own a directory. */
export interface Trust {
  /** This account, beside root. */
  readonly uid: number | null;
  /** Anybody, where the directory belongs to this group. */
  readonly gid?: number | null;
}

/**
 * Looks whether a directory is there, without following a symbolic link.
 * @throws {StorageError} `denied` when something else is there, or a directory that a stranger could swap
 */
export function lookAtDirectory(
  path: string,
  { fileSystem, ...trust }: Trust & { readonly fileSystem: FileSystem },
): DirectoryIdentity | undefined {
  let info: Deno.FileInfo;
  try {
    info = fileSystem.lstatSync(path);
  } catch (cause) {
    if (errorCode(cause) === "ENOENT") return undefined;
    throw new StorageError("look at", { path, cause });
  }
  const danger = dangerOf(info, trust);
  if (danger !== undefined) {
    throw new StorageError("deliver into", { path, cause: new Error(danger), fault: "denied" });
  }
  return { inode: info.ino, born: info.birthtime?.getTime() };
}

function dangerOf(info: Deno.FileInfo, { uid, gid }: Trust): string | undefined {
  const { isSymlink, isDirectory, mode } = info;
  if (isSymlink) return "it is a symbolic link";
  if (!isDirectory) return "it is no directory";
  const isTrusted = info.uid === null || info.uid === 0 || info.uid === uid ||
    (gid !== undefined && info.gid === gid);
  if (!isTrusted) {
    return `it belongs to uid ${info.uid}, who could swap it; it must belong to the server's user, uid ${uid}`;
  }
  if (mode !== null && (mode & 0o002) !== 0) return "everybody may write to it";
  return undefined;
}

/**
 * Makes a directory with this mode; one that is there is left as it is. Returns whether it was made.
 * @throws {StorageError}
 */
export async function makeDirectory(
  path: string,
  { mode, fileSystem }: { readonly mode: number; readonly fileSystem: FileSystem },
): Promise<boolean> {
  try {
    await fileSystem.mkdir(path, { mode: mode & 0o777 });
  } catch (cause) {
    if (errorCode(cause) === "EEXIST") return false;
    throw new StorageError("create directory", { path, cause });
  }
  // The umask may have taken off something, and only a setgid directory hands that bit on. Where both are as they
  // should be, hands off: chmod by who is not in the directory's group would drop the bit.
  await attempt("set the mode of", path, async () => {
    if ((((await fileSystem.lstat(path)).mode ?? 0) & 0o7777) !== mode) await fileSystem.chmod(path, mode);
  });
  return true;
}
