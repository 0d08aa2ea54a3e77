/**
 * Finds what belongs to another account, where one account must own everything.
 *
 * @module
 */
import { join } from "@std/path";

/** Files and directories of other accounts. */
export interface ForeignFiles {
  /** How many were found; more may be there where {@linkcode findForeign} has looked at as many as it does. */
  readonly count: number;
  /** One of them. */
  readonly example: { readonly path: string; readonly uid: number };
}

/** How many files and directories are looked at. */
const MAX_SEEN = 20_000;

/**
 * Finds what does not belong to this account: the directory itself, and what is in it, up to 20,000 files. Symbolic
 * links in it are passed over. Nothing, and what this process may not see, counts as no finding.
 */
export function findForeign(directory: string, uid: number): ForeignFiles | undefined {
  let count = 0;
  let example: ForeignFiles["example"] | undefined;
  const waiting = [directory];
  let seen = 0;
  for (let path = waiting.pop(); path !== undefined && seen < MAX_SEEN; path = waiting.pop()) {
    seen++;
    try {
      const info = path === directory ? Deno.statSync(path) : Deno.lstatSync(path);
      if (info.isSymlink) continue;
      if (info.uid !== null && info.uid !== uid) {
        count++;
        example ??= { path, uid: info.uid };
      }
      if (!info.isDirectory) continue;
      for (const { name } of Deno.readDirSync(path)) {
        if (waiting.length >= MAX_SEEN) break;
        waiting.push(join(path, name));
      }
    } catch {
      // It is gone, or not for this account to see.
    }
  }
  return example && { count, example };
}

/** What in this directory does not belong to the account that has the directory. */
export function foreignInside(directory: string): ForeignFiles | undefined {
  try {
    const { uid } = Deno.statSync(directory);
    return uid === null ? undefined : findForeign(directory, uid);
  } catch {
    return undefined;
  }
}
