/**
 * A folder that goes when the test does.
 *
 * @module
 */

/** A temporary folder; disposing removes it with all that is in it. */
export interface Folder extends AsyncDisposable {
  readonly path: string;
  /** The path of something in it. */
  at(name: string): string;
  /** Writes a file in it and returns its path. `mode` is 0644 if absent. */
  write(name: string, content: string | Uint8Array, options?: { readonly mode?: number }): Promise<string>;
  /** Makes a folder in it, mode 0755 and owned by this account unless said, and returns its path. */
  mkdir(
    name: string,
    options?: { readonly mode?: number; readonly uid?: number; readonly gid?: number },
  ): Promise<string>;
}

/** Makes a folder that every account may enter, since the programs under test run as several; in `directory`, or $TMPDIR. */
export async function makeFolder(
  purpose: string,
  directory = Deno.env.get("TMPDIR") ?? "/tmp",
): Promise<Folder> {
  const path = await Deno.makeTempDir({ dir: directory, prefix: `mailapp-${purpose}-` });
  await Deno.chmod(path, 0o755);
  const at = (name: string) => `${path}/${name}`;
  return {
    path,
    at,
    async write(name, content, { mode = 0o644 } = {}) {
      const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
      await Deno.writeFile(at(name), bytes, { mode });
      await Deno.chmod(at(name), mode);
      return at(name);
    },
    async mkdir(name, { mode = 0o755, uid, gid } = {}) {
      await Deno.mkdir(at(name), { recursive: true });
      await Deno.chmod(at(name), mode);
      if (uid !== undefined || gid !== undefined) await Deno.chown(at(name), uid ?? null, gid ?? null);
      return at(name);
    },
    async [Symbol.asyncDispose]() {
      await Deno.remove(path, { recursive: true });
    },
  };
}
