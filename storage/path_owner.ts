/**
 * Which accounts besides root could redirect a path.
 *
 * @module
 */
import { dirname, join, resolve } from "node:path";

/** An account and its group, by their ids. */
export interface PathOwner {
  /** Not root's. */
  readonly uid: number;
  /** That of what it owns. */
  readonly gid: number;
}

/** Other accounts can redirect the path. */
export class OpenPathError extends Error {
  override readonly name = "OpenPathError";

  /** `directory` is writable by everyone, or by a group. */
  constructor(directory: string) {
    super(`${directory} can be written to by other accounts than its owner's: chmod go-w ${directory}`);
  }
}

const OTHERS_WRITE = 0o002;
const GROUP_WRITE = 0o020;
const STICKY = 0o1000;
/** Symbolic links that are followed in one path; as many as Linux follows. */
const MAX_LINKS = 40;

/**
 * The first account other than root that owns a part of a path: it could put a symbolic link there, so root must
 * become that account before it writes there. `undefined` where root owns all of it, and no one else may write to it.
 * Missing parts are skipped.
 * @throws {OpenPathError} when a directory of root's on the way can be written to by others
 */
export async function ownerOnPath(path: string): Promise<PathOwner | undefined> {
  let links = 0;
  let at = "/";
  const rest = partsOf(resolve(path));
  for (let part = rest.shift(); part !== undefined; part = rest.shift()) {
    const next = join(at, part);
    const info = await Deno.lstat(next).catch((error) => {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    });
    if (info === undefined) return undefined;
    if (info.uid) return { uid: info.uid, gid: info.gid ?? info.uid };
    if (info.isSymlink) {
      if (++links > MAX_LINKS) throw new Error(`${path}: too many symbolic links`);
      const target = resolve(dirname(next), await Deno.readLink(next));
      rest.unshift(...partsOf(target));
      at = "/";
      continue;
    }
    const open = OTHERS_WRITE | (info.gid === 0 ? 0 : GROUP_WRITE);
    const mode = info.mode ?? 0;
    if (info.isDirectory && (mode & open) !== 0 && (mode & STICKY) === 0) throw new OpenPathError(next);
    at = next;
  }
  return undefined;
}

function partsOf(path: string): string[] {
  return path.split("/").filter((part) => part !== "");
}
