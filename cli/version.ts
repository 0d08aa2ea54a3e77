/**
 * Which mailapp this is.
 *
 * @module
 */
import deno from "../deno.json" with { type: "json" };

/** The version, as in deno.json. */
export const VERSION: string = deno.version;

/** What `--version` says: version, commit, runtime. */
export async function versionLine(): Promise<string> {
  const commit = await commitOf(new URL("../.git/", import.meta.url));
  return `mailapp ${VERSION} (${
    commit === undefined ? "" : `${commit}, `
  }Deno ${Deno.version.deno}, from source)`;
}

/** The abbreviated commit that is checked out; `undefined` when that cannot be told. */
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
