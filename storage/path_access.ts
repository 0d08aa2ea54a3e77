/**
 * What an account can do with paths: whether they exist, may be read or written, or could be made.
 *
 * @module
 */
import { dirname } from "@std/path";

/** The system's answer about one path. */
export interface PathRights {
  /** Whether it exists, as far as the account can see. */
  readonly exists: boolean;
  /** Whether that is a directory. */
  readonly directory: boolean;
  /** Whether the account may read it. */
  readonly read: boolean;
  /** Whether it may write to it; never on a file system that is read-only. */
  readonly write: boolean;
  /** Whether it may execute it; for a directory: enter it. */
  readonly search: boolean;
}

/** Asks the system about paths for an account; one answer for each, in their order. */
export type AskRights = (paths: readonly string[]) => Promise<readonly PathRights[]>;

/** The access of an account to a path. */
export type PathAccess =
  | { readonly kind: "there" } & Omit<PathRights, "exists">
  /** `first` is its first missing component; and whether the account can make it in `parent`. */
  | {
    readonly kind: "missing";
    readonly first: string;
    readonly parent: string;
    readonly canMake: boolean;
  }
  /** The component `at` is not a directory. */
  | { readonly kind: "blocked"; readonly at: string }
  /** The directory `at` on the path may not be entered by the account. */
  | { readonly kind: "closed"; readonly at: string };

/** Checks absolute paths, each with the directories above it. */
export async function examinePaths(
  paths: readonly string[],
  ask: AskRights,
): Promise<ReadonlyMap<string, PathAccess>> {
  const all = [...new Set(paths.flatMap(withParents))];
  const answers = await ask(all);
  const rights = new Map(all.map((path, index) => [path, answers[index]]));
  return new Map(paths.map((path) => [path, accessOf(path, rights)]));
}

function accessOf(path: string, rights: ReadonlyMap<string, PathRights | undefined>): PathAccess {
  let parent = "/";
  for (const at of withParents(path)) {
    const { exists, ...own } = rights.get(at) ?? NOTHING;
    if (!exists) {
      const above = rights.get(parent) ?? NOTHING;
      if (!above.directory) return { kind: "blocked", at: parent };
      // Nothing in a directory that may not be entered can be seen.
      if (!above.search) return { kind: "closed", at: parent };
      return { kind: "missing", first: at, parent, canMake: above.write };
    }
    if (at === path) return { kind: "there", ...own };
    parent = at;
  }
  return { kind: "closed", at: parent };
}

const NOTHING: PathRights = { exists: false, directory: false, read: false, write: false, search: false };

/** The directories above the path, from the root, then the path. */
function withParents(path: string): string[] {
  const found = [path];
  for (let at = path; dirname(at) !== at;) {
    at = dirname(at);
    found.unshift(at);
  }
  return found;
}
