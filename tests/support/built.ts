/**
 * The program as one file, as `deno task build` makes it.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { join } from "@std/path";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** What the built file does not depend on; all else in the root that is TypeScript, JSON, TOML or `build/` counts. */
const APART = ["node_modules", "tests", "bench", "docs", "dist", "demo-data"];

/**
 * The path of the built file. `MAILAPP_BUILT` names one that is there; else it is built, once for the same sources.
 * The caller may not change it.
 */
export async function builtMailapp(): Promise<string> {
  const given = Deno.env.get("MAILAPP_BUILT");
  if (given) return given;
  const directory = `/tmp/mailapp-built-${Deno.uid()}-${(await sourcesHash()).slice(0, 16)}`;
  await Deno.mkdir(directory, { recursive: true, mode: 0o755 });
  const file = join(directory, "mailapp");
  using lock = await Deno.open(join(directory, "lock"), { create: true, write: true });
  await lock.lock(true);
  const isThere = await Deno.stat(`${file}.cdx.json`).then(() => true, () => false);
  if (!isThere) {
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--frozen", "build/build.ts", "--portable", "--out", directory],
      cwd: ROOT,
      stdout: "null",
      stderr: "piped",
    }).output();
    if (!success) throw new Error(`the build failed:\n${new TextDecoder().decode(stderr)}`);
  }
  return file;
}

async function sourcesHash(): Promise<string> {
  const parts: string[] = [];
  const visit = async (path: string) => {
    for await (const { name, isDirectory } of Deno.readDir(join(ROOT, path))) {
      const inside = join(path, name);
      if (isDirectory) {
        if (!APART.includes(inside) && !name.startsWith(".")) await visit(inside);
      } else if (/\.(?:ts|sh|json|lock|toml)$/.test(name) && !name.endsWith("_test.ts")) {
        parts.push(`${inside}\n${await Deno.readTextFile(join(ROOT, inside))}`);
      }
    }
  };
  await visit(".");
  const text = new TextEncoder().encode(parts.sort().join("\n"));
  return new Uint8Array(await crypto.subtle.digest("SHA-256", text)).toHex();
}
