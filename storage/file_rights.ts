/**
 * Finds files and directories with rights that are too wide for their content.
 *
 * @module
 */
import { dirname } from "@std/path";
import { shellWord } from "../base/shell_word.ts";

/** A file or directory, and the rights that other accounts (neither owner nor group) may have. */
export interface GuardedPath {
  /** Its role, such as `[tls] key`. */
  readonly what: string;
  /** Absolute. */
  readonly path: string;
  /** The permission bits that others may have, such as `0o4` for world-readable files. `0o2` is never allowed. */
  readonly others: number;
  /** Whether others may put their own files into it where it has the sticky bit, as `/tmp` has. */
  readonly sharedIfSticky?: true;
}

/** Rights that are too wide. */
export interface WideRights {
  /** As in {@linkcode GuardedPath}. */
  readonly what: string;
  /** The path with the rights; a directory above it, where others could replace it there. */
  readonly path: string;
  /** What others can do. */
  readonly problem: string;
  /** The command that takes that from them. */
  readonly remedy: string;
}

/** The result of {@linkcode findWideRights}. */
export interface RightsSeen {
  /** Each path at most once. */
  readonly wide: readonly WideRights[];
  /** Paths that this account may not inspect. */
  readonly unseen: readonly GuardedPath[];
}

const READ = 0o4;
const WRITE = 0o2;
const SEARCH = 0o1;
const STICKY = 0o1000;

/**
 * Finds what every account of the machine can read or change and should not: these paths, and the directories above
 * them, in which they could be replaced. Missing paths are skipped.
 * @param options `maySee`: whether this thread may look at a directory above; absent: at all of them
 */
export async function findWideRights(
  guarded: readonly GuardedPath[],
  { maySee = () => true }: { readonly maySee?: (directory: string) => boolean } = {},
): Promise<RightsSeen> {
  const infos = await Promise.all(guarded.map(async (one) => ({ one, info: await look(one.path) })));
  const wide = infos.flatMap(({ one, info }) =>
    typeof info === "string" ? [] : judge(one, info, { path: one.path })
  );
  const known = new Set(guarded.map(({ path }) => path));
  const above = new Map<string, GuardedPath>();
  for (const { one } of infos) {
    for (const directory of await directoriesAbove(one.path)) {
      if (known.has(directory) || above.has(directory) || !maySee(directory)) continue;
      above.set(directory, { what: one.what, path: directory, others: READ | SEARCH, sharedIfSticky: true });
    }
  }
  for (const [path, one] of above) {
    const info = await look(path);
    if (typeof info !== "string") wide.push(...judge(one, info, { path, above: true }));
  }
  return { wide, unseen: infos.filter(({ info }) => info === "closed").map(({ one }) => one) };
}

async function look(path: string): Promise<Deno.FileInfo | "absent" | "closed"> {
  try {
    return await Deno.stat(path);
  } catch (error) {
    return error instanceof Deno.errors.PermissionDenied ? "closed" : "absent";
  }
}

/** By its name, and by where symbolic links lead. */
async function directoriesAbove(path: string): Promise<Set<string>> {
  const directories = new Set<string>();
  for (const start of [path, await Deno.realPath(path).catch(() => path)]) {
    let directory = dirname(start);
    while (!directories.has(directory)) {
      directories.add(directory);
      directory = dirname(directory);
    }
  }
  return directories;
}

function judge(
  { what, others, sharedIfSticky }: GuardedPath,
  { mode, isDirectory }: Deno.FileInfo,
  { path, above = false }: { readonly path: string; readonly above?: boolean },
): WideRights[] {
  if (mode === null) return [];
  const isShared = sharedIfSticky === true && (mode & STICKY) !== 0;
  const allowed = others | (isShared ? WRITE : 0) | (isDirectory ? 0 : SEARCH);
  const excess = mode & 0o7 & ~allowed;
  if (excess === 0) return [];
  const can = (excess & WRITE) !== 0 ? "change" : (excess & READ) !== 0 ? "read" : "enter";
  const letters = others === 0
    ? "="
    : `-${(excess & READ) !== 0 ? "r" : ""}${(excess & WRITE) !== 0 ? "w" : ""}${
      (excess & SEARCH) !== 0 ? "x" : ""
    }`;
  return [{
    what,
    path,
    problem: above ? `every account can change ${path}, and so replace it` : `every account can ${can} it`,
    remedy: `chmod o${letters} ${shellWord(path)}`,
  }];
}
