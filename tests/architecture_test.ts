// Which directories may import which (docs/architecture.md), checked against the module graph.
import assert from "node:assert/strict";
import { fileURLToPath, pathToFileURL } from "node:url";
import { relative } from "@std/path";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/**
 * The layers, from the bottom. A directory may import from lower layers and, within its layer, from those before it in
 * the list; there are no exceptions.
 */
const LAYERS: readonly (readonly string[])[] = [
  ["base"],
  ["observe", "net", "message", "storage"],
  ["smtp", "config", "dns"],
  [
    "tls",
    "dkim",
    "spf",
    "dmarc",
    "arc",
    "mta_sts",
    "acme",
    "tls_report",
    "sasl",
    "accounts",
    "milter",
    "checks",
    "maildir",
  ],
  ["relay", "submit", "doctor"],
  ["server", "mod.ts"],
  ["selftest"],
  ["cli"],
  ["main.ts"],
];

/** Imports that the layers would allow, and that are forbidden all the same. */
const APART: readonly (readonly [from: string, to: string])[] = [
  ["relay", "maildir"],
  ["submit", "maildir"],
  ["submit", "relay"],
  ["doctor", "maildir"],
];

/** Only these see the configuration as the file has it; all others take a small options object. */
const MAY_SEE_CONFIG = ["server", "selftest", "cli"];

/** Files of the root that are no modules, each with the one module that reads it. */
const ROOT_FILES: Readonly<Record<string, string>> = {
  "deno.json": "server/version.ts",
  "config.example.toml": "config/example.ts",
};

/** The position of each directory; a later one may import an earlier one. */
const HEIGHT = new Map(LAYERS.flat().map((name, height) => [name, height]));

/** Whether a module of one directory may import one of another. */
function mayImport(from: string, to: string): boolean {
  if (to === "config" && !MAY_SEE_CONFIG.includes(from)) return false;
  if (APART.some(([one, other]) => one === from && other === to)) return false;
  return (HEIGHT.get(to) ?? Infinity) < (HEIGHT.get(from) ?? -1);
}

/** The modules of the product, by path from the root, test files left out. */
async function productModules(): Promise<string[]> {
  const found: string[] = [];
  const visit = async (directory: string) => {
    for await (const { name, isDirectory } of Deno.readDir(`${ROOT}/${directory}`)) {
      const path = `${directory}/${name}`;
      if (isDirectory) await visit(path);
      else if (name.endsWith(".ts") && !name.endsWith("_test.ts")) found.push(path);
    }
  };
  for await (const { name, isDirectory } of Deno.readDir(ROOT)) {
    if (!HEIGHT.has(name)) continue;
    if (isDirectory) await visit(name);
    else found.push(name);
  }
  return found.sort();
}

/** What a module imports: a path from the root, or the specifier as it is. */
interface Import {
  readonly target: string;
  /** Whether it is gone once the types are. */
  readonly typeOnly: boolean;
}

/** For each module of the product, what it imports. */
async function moduleGraph(): Promise<Map<string, Import[]>> {
  const entry = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    const modules = await productModules();
    const imports = modules.map((path) =>
      `import ${JSON.stringify(String(pathToFileURL(`${ROOT}/${path}`)))};\n`
    );
    await Deno.writeTextFile(entry, imports.join(""));
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["info", "--json", "--config", `${ROOT}/deno.json`, entry],
      env: { NO_COLOR: "1" },
    }).output();
    assert.equal(code, 0, new TextDecoder().decode(stderr));
    const info = JSON.parse(new TextDecoder().decode(stdout)) as {
      modules: {
        specifier: string;
        error?: string;
        dependencies?: { specifier: string; code?: { specifier?: string }; type?: { specifier?: string } }[];
      }[];
    };
    const own = (specifier: string) =>
      specifier.startsWith("file:") ? relative(ROOT, fileURLToPath(specifier)) : specifier;
    const graph = new Map<string, Import[]>();
    for (const { specifier, error, dependencies = [] } of info.modules) {
      assert.equal(error, undefined, specifier);
      const path = own(specifier);
      if (!modules.includes(path)) continue;
      graph.set(
        path,
        dependencies.map(({ specifier, code, type }) => ({
          target: own(code?.specifier ?? type?.specifier ?? specifier),
          typeOnly: code === undefined,
        })),
      );
    }
    assert.deepEqual([...graph.keys()].sort(), modules);
    return graph;
  } finally {
    await Deno.remove(entry);
  }
}

const topDirectory = (path: string) => path.split("/", 1)[0] ?? path;
const isOwn = (specifier: string) =>
  HEIGHT.has(topDirectory(specifier)) || Object.hasOwn(ROOT_FILES, specifier);

Deno.test("directories import each other only in the allowed directions", async () => {
  const wrong: string[] = [];
  for (const [module, imports] of await moduleGraph()) {
    for (const { target } of imports) {
      if (!isOwn(target)) continue;
      if (topDirectory(target) === topDirectory(module)) continue;
      if (ROOT_FILES[target] === module) continue;
      if (!mayImport(topDirectory(module), topDirectory(target))) wrong.push(`${module} imports ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
});

Deno.test("the relay knows its queue by the contract in relay/queue.ts alone, not the spool that keeps it", async () => {
  const graph = await moduleGraph();
  const inSpool = (path: string) => path.startsWith("relay/spool/");
  const wrong = [...graph].flatMap(([module, imports]) =>
    topDirectory(module) === "relay" && !inSpool(module)
      ? imports.filter(({ target }) => inSpool(target)).map(({ target }) => `${module} imports ${target}`)
      : []
  );
  assert.deepEqual(wrong, []);
  assert.ok([...graph.keys()].some(inSpool));
});

/** Fails if one can come back to where one was. */
function assertNoCycle(graph: ReadonlyMap<string, Iterable<string>>): void {
  const done = new Set<string>();
  const visit = (from: string, path: readonly string[]) => {
    assert.ok(!path.includes(from), `cycle: ${[...path.slice(path.indexOf(from)), from].join(" → ")}`);
    if (done.has(from)) return;
    for (const to of graph.get(from) ?? []) visit(to, [...path, from]);
    done.add(from);
  };
  for (const from of graph.keys()) visit(from, []);
}

Deno.test("no module and no directory imports itself through others", async () => {
  const graph = await moduleGraph();
  const modules = new Map<string, string[]>();
  const directories = new Map<string, Set<string>>();
  for (const [module, imports] of graph) {
    // Types may point at each other, as Session and Delivery do; they are gone when the program runs.
    modules.set(module, imports.flatMap(({ target, typeOnly }) => typeOnly ? [] : [target]));
    const known = directories.get(topDirectory(module)) ?? new Set();
    for (const { target } of imports) {
      if (isOwn(target) && topDirectory(target) !== topDirectory(module)) known.add(topDirectory(target));
    }
    directories.set(topDirectory(module), known);
  }
  assertNoCycle(modules);
  assertNoCycle(directories);
});

Deno.test("the product imports only itself, Node's modules and the pinned packages", async () => {
  const { imports } = JSON.parse(await Deno.readTextFile(`${ROOT}/deno.json`)) as {
    imports: Record<string, string>;
  };
  const pinned = Object.values(imports);
  const wrong: string[] = [];
  for (const [module, targets] of await moduleGraph()) {
    for (const { target } of targets) {
      if (isOwn(target) || target.startsWith("node:")) continue;
      if (!pinned.some((specifier) => target === specifier || target.startsWith(`${specifier}/`))) {
        wrong.push(`${module} imports ${target}`);
      }
    }
  }
  assert.deepEqual(wrong, []);
});

Deno.test("each file of cli/ is a command, or stands in the directory of one", async () => {
  const others: string[] = [];
  for (const path of await productModules()) {
    if (!/^cli\/[^/]+$/.test(path)) continue;
    const text = await Deno.readTextFile(`${ROOT}/${path}`);
    if (!/^export function register[A-Z]\w*\(\s*program: Command/m.test(text)) others.push(path);
  }
  assert.deepEqual(others, []);
});

Deno.test("only main.ts touches the process, and no server starts programs or loads native code", async () => {
  const rules = [
    { pattern: /\bDeno\s*\.\s*(?:args|exit)\b/, allowed: ["main.ts"] },
    {
      pattern: /\bDeno\s*\.\s*(?:Command|dlopen)\b|child_process/,
      allowed: ["cli/demo/process.ts", "cli/command_line/system_commands.ts"],
    },
  ];
  const wrong: string[] = [];
  for (const path of await productModules()) {
    const text = await Deno.readTextFile(`${ROOT}/${path}`);
    const code = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, "");
    for (const { pattern, allowed } of rules) {
      const [found] = pattern.exec(code) ?? [];
      if (found !== undefined && !allowed.includes(path)) wrong.push(`${path} uses ${found}`);
    }
  }
  assert.deepEqual(wrong, []);
});

Deno.test("X.509 is loaded by import(), behind its polyfill: a bundle does not keep the order of declarations", async () => {
  const wrong: string[] = [];
  for (const path of await productModules()) {
    const text = await Deno.readTextFile(`${ROOT}/${path}`);
    if (/^import (?!type\b)[^;]*"(?:reflect-metadata|@peculiar\/x509)"/m.test(text)) wrong.push(path);
  }
  assert.deepEqual(wrong, []);
});

Deno.test("Maildirs are reached through FileSystem alone", async () => {
  const call =
    /\bDeno\s*\.\s*(?:open|create|l?stat|rename|remove|mkdir|readDir|link|symlink|chmod|chown|(?:read|write)(?:Text)?File|truncate)/;
  const wrong: string[] = [];
  for (const path of await productModules()) {
    // /etc/passwd is not part of a Maildir.
    if (topDirectory(path) !== "maildir" || path === "maildir/mailboxes.ts") continue;
    const [found] = call.exec(await Deno.readTextFile(`${ROOT}/${path}`)) ?? [];
    if (found !== undefined) wrong.push(`${path} uses ${found}`);
  }
  assert.deepEqual(wrong, []);
});

// A long file usually holds several things; one that does not says why.
Deno.test("no module of the product is longer than 400 lines without a reason in its first comment", async () => {
  const wrong: string[] = [];
  for (const path of await productModules()) {
    const text = await Deno.readTextFile(`${ROOT}/${path}`);
    const comment = text.startsWith("/**") ? text.slice(0, text.indexOf("*/")) : "";
    if (text.split("\n").length > 401 && !comment.includes("Longer than other files:")) wrong.push(path);
  }
  assert.deepEqual(wrong, []);
});
