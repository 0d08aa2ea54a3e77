/**
 * The version of mailapp.
 *
 * @module
 */
import deno from "../deno.json" with { type: "json" };

/** The version, as in deno.json. */
export const VERSION: string = deno.version;

/** What build/build.ts writes into the program it builds. */
interface BuildInfo {
  /** The abbreviated commit; with `-modified` where files differed from it. */
  readonly commit: string;
  /** `compiled` by `deno compile`, or `portable`. */
  readonly form: string;
}

/** The output of `--version`: version, commit, runtime and form of the build. */
export async function versionLine(): Promise<string> {
  const build = (globalThis as { mailappBuild?: BuildInfo }).mailappBuild;
  const commit = build?.commit ?? await commitOf(new URL("../.git/", import.meta.url));
  const form = build ? `${build.form} form` : "from source";
  return `mailapp ${VERSION} (${
    commit === undefined ? "" : `${commit}, `
  }Deno ${Deno.version.deno}, ${form})`;
}

/** The abbreviated commit that is checked out; `undefined` when that cannot be determined. */
async function commitOf(git: URL): Promise<string | undefined> {
  try {
    const head = (await Deno.readTextFile(new URL("HEAD", git))).trim();
    const [, ref] = /^ref: (refs\/[\w./-]+)$/.exec(head) ?? [];
    const id = ref === undefined ? head : await readRef(ref, git);
    return id !== undefined && /^[0-9a-f]{40,64}$/.test(id) ? id.slice(0, 12) : undefined;
  } catch {
    return undefined;
  }
}

async function readRef(ref: string, git: URL): Promise<string | undefined> {
  try {
    return (await Deno.readTextFile(new URL(ref, git))).trim();
  } catch {
    const packed = await Deno.readTextFile(new URL("packed-refs", git));
    return packed.split("\n").find((line) => line.endsWith(` ${ref}`))?.split(" ")[0];
  }
}
