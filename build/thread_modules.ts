/**
 * Which modules each thread of the portable form reads.
 *
 * Deno reads every module that an `import()` names literally, and all behind it, before it runs the first one, and
 * keeps the text. So `import()` names no module literally here, and the main thread reads a module when it is needed. A
 * server's thread may read no program files once it runs: it begins with a module of its own, which names what the
 * thread may need, and nothing of other servers.
 *
 * @module
 */
import { join } from "@std/path";
import { HASHER } from "../accounts/hashing_worker.ts";
import { DIALOGUES, INTAKE } from "../server/dialogues/messages.ts";
import { LAUNCHER } from "../server/launcher.ts";
import { threadFile } from "../server/threads.ts";

/** For each thread, the source that it loads; the dashboard's thread may read the program's files at any time. */
const LOADED: Readonly<Record<string, string | undefined>> = {
  "serve-in": "server/serve_in.ts",
  "serve-out": "server/serve_out.ts",
  "serve-submit": "server/serve_submit.ts",
  "serve-policy": "server/serve_policy.ts",
  [DIALOGUES]: "server/dialogues/serve_in_thread.ts",
  [INTAKE]: "server/dialogues/intake_thread.ts",
  [HASHER]: "accounts/hashing_worker.ts",
  [LAUNCHER]: undefined,
  dashboard: undefined,
};

/** What loads one of these by the name of the thread. */
const LOADER = "server/servers.ts";

const STATIC = /(?:^|\n|;)\s*(?:import|export)\b(?:[^"'();]*?\bfrom)?\s*"\.\/([^"]+)"/g;
const DYNAMIC = /\bimport\("\.\/([^"]+)"\)/g;

/** A module of the bundle. */
interface BundledModule {
  readonly text: string;
  /** Those that it imports, by name. */
  readonly imports: readonly string[];
  /** Those that it may import later. */
  readonly laterImports: readonly string[];
}

/** Rewrites the modules that `deno bundle` has put into the directory, and adds one for each thread. */
export async function separateThreads(directory: string): Promise<void> {
  const modules = await readModules(directory);
  for (const [name, { text }] of modules) {
    await Deno.writeTextFile(join(directory, name), text.replaceAll(DYNAMIC, 'import(String("./$1"))'));
  }
  const loader = findModule(modules, LOADER);
  // Another program than ours.
  if (loader === undefined) return;
  for (const [thread, source] of Object.entries(LOADED)) {
    const names = source === undefined ? [] : [loader, ...neededLater(modules, source)];
    await Deno.writeTextFile(join(directory, threadFile(thread)), threadText(names));
  }
}

async function readModules(directory: string): Promise<Map<string, BundledModule>> {
  const modules = new Map<string, BundledModule>();
  for await (const { name } of Deno.readDir(directory)) {
    const text = await Deno.readTextFile(join(directory, name));
    const named = (pattern: RegExp) => Array.from(text.matchAll(pattern), ([, found = ""]) => found);
    modules.set(name, { text, imports: named(STATIC), laterImports: named(DYNAMIC) });
  }
  return modules;
}

/** The module by which `import()` loads a source: that is in it, or in one that it imports. */
function findModule(modules: ReadonlyMap<string, BundledModule>, source: string): string | undefined {
  const prefix = `${source.slice(source.lastIndexOf("/") + 1, -".ts".length)}-`;
  return [...modules.keys()].find((name) =>
    name.startsWith(prefix) &&
    [...closure(modules, [name])].some((part) => modules.get(part)?.text.includes(`\n// ${source}\n`))
  );
}

/** These modules and all that they import. */
function closure(modules: ReadonlyMap<string, BundledModule>, names: readonly string[]): Set<string> {
  const found = new Set<string>();
  const left = [...names];
  for (let name = left.pop(); name !== undefined; name = left.pop()) {
    if (found.has(name)) continue;
    found.add(name);
    left.push(...modules.get(name)?.imports ?? []);
  }
  return found;
}

/** What loads a source, and what all of that may load later. */
function neededLater(modules: ReadonlyMap<string, BundledModule>, source: string): Set<string> {
  const own = findModule(modules, source);
  if (own === undefined) throw new Error(`deno bundle has made no module of ${source}`);
  const needed = new Set([own]);
  const seen = new Set<string>();
  // A set hands out what is added meanwhile.
  for (const name of needed) {
    for (const part of closure(modules, [name])) {
      if (seen.has(part)) continue;
      seen.add(part);
      const { text = "", laterImports = [] } = modules.get(part) ?? {};
      // That one names all servers.
      if (!text.includes(`\n// ${LOADER}\n`)) laterImports.forEach((later) => needed.add(later));
    }
  }
  return needed;
}

/** The module of a thread, which names these without importing them. */
function threadText(names: readonly string[]): string {
  const imports = names.map((name) => `  import(${JSON.stringify(`./${name}`)});\n`);
  return `import "./entry.js";\nfunction named() {\n${imports.join("")}}\n`;
}
