/**
 * The directories of a Maildir: made with the modes that its readers need, and checked before they are trusted.
 *
 * @module
 */
import type { FileSystem } from "../storage/file_system.ts";
import { errorCode, storageCall, StorageError } from "../storage/storage_error.ts";

/** The Maildir's readers are in its group, which new files inherit from the directory (setgid). */
export const MAILDIR_MODE = 0o2770;

/** Identifies a directory; inode numbers are reused, so it includes the time of birth. */
export interface DirectoryIdentity {
  /** The inode number. */
  readonly inode: number | null;
  /** Milliseconds since the epoch, where the file system knows. */
  readonly born: number | undefined;
}

/** Whether these are the same directory; two missing ones count as the same. */
export function isSame(one: DirectoryIdentity | undefined, other: DirectoryIdentity | undefined): boolean {
  return one?.inode === other?.inode && one?.born === other?.born;
}

/** The permitted owners of a directory. */
export interface Trust {
  /** This account, besides root. */
  readonly uid: number | null;
  /** Any owner, where the directory belongs to this group. */
  readonly gid?: number | null;
}

/**
 * Checks whether a directory exists, without following a symbolic link.
 * @throws {StorageError} `denied` when something else is there, or a directory that another account could swap
 */
export function examineDirectory(
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
  if (!isDirectory) return "it is not a directory";
  const isTrusted = info.uid === null || info.uid === 0 || info.uid === uid ||
    (gid !== undefined && info.gid === gid);
  if (!isTrusted) {
    return `it belongs to uid ${info.uid}, who could swap it; it must belong to the server's user, uid ${uid}`;
  }
  if (mode !== null && (mode & 0o002) !== 0) return "every account may write to it";
  return undefined;
}

/**
 * Makes a directory with this mode; an existing one is left unchanged. Returns whether it was made.
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
  // The umask may have cleared bits, and only a setgid directory passes that bit on. Where both are as they
  // should be, no chmod: by an account outside of the directory's group it would drop the bit.
  await storageCall("set the mode of", path, async () => {
    if ((((await fileSystem.lstat(path)).mode ?? 0) & 0o7777) !== mode) await fileSystem.chmod(path, mode);
  });
  return true;
}
