/**
 * `deno task build`: the program as one executable, `dist/mailapp`, with a checksum and a software bill of materials
 * beside it. First choice is `deno compile`; if its base (denort) is not available, the portable form of
 * portable.sh. What cannot be built is reported as NOT RUN, with the reason; exit code 1 if no form can be built.
 * `--target` chooses the machine for `deno compile`; `--portable` asks for that form; `--entry` builds another program
 * in place of main.ts, as a test does.
 *
 * @module
 */
import { join } from "@std/path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import project from "../deno.json" with { type: "json" };
import { compileArguments, launcherEnd, linkNameCases } from "./run_flags.ts";
import { separateThreads } from "./thread_modules.ts";

// What `deno bundle` puts before every program, for those of its packages that call require().
const EAGER_REQUIRE = `import { createRequire as __deno_internal_createRequire } from "node:module";
var __require = __deno_internal_createRequire(import.meta.url);
`;

const { values: options } = parseArgs({
  args: Deno.args.filter((argument) => argument !== "--"),
  options: {
    target: { type: "string" },
    portable: { type: "boolean" },
    out: { type: "string", default: "dist" },
    entry: { type: "string", default: "main.ts" },
  },
});
const out = options.out;
const target = options.target ?? Deno.build.target;
await Deno.mkdir(out, { recursive: true });
const work = await Deno.makeTempDir({ prefix: "mailapp-build-" });
try {
  const commit = await commitId();
  const file = join(out, options.target === undefined ? "mailapp" : `mailapp-${target}`);
  const form = await make(commit, file);
  if (form === undefined) {
    Deno.exitCode = 1;
  } else {
    await writeChecksum(file);
    await writeBillOfMaterials(`${file}.cdx.json`, commit);
    const { size } = await Deno.stat(file);
    console.log(
      `${file}: ${form}, ${target}, ${(size / 1e6).toFixed(1)} MB; beside it .sha256 and .cdx.json`,
    );
  }
} finally {
  await Deno.remove(work, { recursive: true });
}

/** Runs a program to its end; its standard output, or `undefined` when it failed. */
async function capture(command: string, args: string[]): Promise<string | undefined> {
  try {
    const { success, stdout } = await new Deno.Command(command, { args, stderr: "inherit" }).output();
    return success ? new TextDecoder().decode(stdout) : undefined;
  } catch {
    return undefined;
  }
}

async function commitId(): Promise<string> {
  const id = (await capture("git", ["rev-parse", "--short=12", "HEAD"]))?.trim();
  if (!id) return "unknown";
  return (await capture("git", ["status", "--porcelain", "--untracked-files=no"])) === ""
    ? id
    : `${id}-modified`;
}

/** Writes the entry module with the build information. */
async function writeEntry(commit: string, form: "compiled" | "portable"): Promise<string> {
  await Deno.writeTextFile(
    join(work, "build_info.ts"),
    `(globalThis as { mailappBuild?: unknown }).mailappBuild = ${JSON.stringify({ commit, form })};\n`,
  );
  const entry = join(work, "entry.ts");
  const main = pathToFileURL(options.entry).href;
  await Deno.writeTextFile(entry, `import "./build_info.ts";\nimport ${JSON.stringify(main)};\n`);
  return entry;
}

/** Builds the file in the best form available here; returns the form, `undefined` for none. */
async function make(commit: string, file: string): Promise<string | undefined> {
  if (!options.portable) {
    const reason = await compile(commit, file);
    if (reason === undefined) return "compiled form";
    console.log(`NOT RUN: deno compile for ${target}: ${reason}`);
  }
  // It contains the runtime of this build.
  if (target !== Deno.build.target) {
    console.log(
      `NOT RUN: portable form for ${target}: it is made on such a machine, and this is ${Deno.build.target}`,
    );
    return undefined;
  }
  await packPortable(commit, file);
  return "portable form";
}

/** `undefined`, or why it could not be done, in one line. */
async function compile(commit: string, file: string): Promise<string | undefined> {
  const entry = await writeEntry(commit, "compiled");
  const fresh = join(work, "compiled");
  console.log(`deno compile for ${target} …`);
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      // Not the final path: Deno refuses to overwrite a file of the other form.
      ...compileArguments({ target, output: fresh }),
      entry,
    ],
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  if (success) {
    await Deno.copyFile(fresh, `${file}.tmp`);
    await Deno.chmod(`${file}.tmp`, 0o755);
    await Deno.rename(`${file}.tmp`, file);
    return undefined;
  }
  const [reason = ""] = new TextDecoder().decode(stderr).split("Stack backtrace:");
  return reason.trim().replaceAll(/\s+/g, " ");
}

async function packPortable(commit: string, file: string): Promise<void> {
  const entry = await writeEntry(commit, "portable");
  const tree = join(work, "tree");
  await Deno.mkdir(tree);
  // In parts, so that each command and each server loads no more than its own.
  const app = join(tree, "app");
  const bundle = [
    "bundle",
    "--quiet",
    "--frozen",
    "--code-splitting",
    "--config",
    "deno.json",
    "--outdir",
    app,
  ];
  if (await capture(Deno.execPath(), [...bundle, entry]) === undefined) throw new Error("deno bundle failed");
  await loadRequireLate(app);
  await separateThreads(app);
  // Whatever a package.json above says, these are modules.
  await Deno.writeTextFile(join(app, "package.json"), '{ "type": "module" }\n');
  await Deno.copyFile(Deno.execPath(), join(tree, "deno"));
  await Deno.chmod(join(tree, "deno"), 0o755);
  const archive = join(work, "archive.tar.gz");
  // Names, times and owners are left out, so that the same sources give the same file.
  const packed = await capture("tar", [
    "--sort=name",
    "--mtime=@0",
    "--owner=0",
    "--group=0",
    "--numeric-owner",
    "--mode=u=rwX,go=rX",
    "-C",
    tree,
    "-I",
    "gzip -9n",
    "-cf",
    archive,
    "deno",
    "app",
  ]);
  if (packed === undefined) throw new Error("tar failed");
  const payload = await Deno.readFile(archive);
  const template = (await Deno.readTextFile(new URL("portable.sh", import.meta.url)))
    .replace("@VERSION@", project.version).replaceAll("@TARGET@", target)
    .replace("@SHA256@", await sha256(payload)).replace("@LINK_NAMES@", () => linkNameCases())
    .replace("@LAUNCH@", () => launcherEnd("$home"));
  // The offset is part of the text whose length determines it; a fixed width solves that.
  const length = new TextEncoder().encode(template.replace("@OFFSET@", "00000000")).length;
  const header = new TextEncoder().encode(template.replace("@OFFSET@", String(length + 1).padEnd(8)));
  // A shell may be reading the existing file.
  await Deno.writeFile(`${file}.tmp`, new Blob([header, payload]).stream());
  await Deno.chmod(`${file}.tmp`, 0o755);
  await Deno.rename(`${file}.tmp`, file);
}

/**
 * Node's module loader loads all of Node's modules, which takes 40 ms in each thread. What calls require() here
 * needs only Node's modules, which are available without it.
 */
async function loadRequireLate(app: string): Promise<void> {
  let replaced = 0;
  for await (const { name } of Deno.readDir(app)) {
    const text = await Deno.readTextFile(join(app, name));
    if (!text.includes(EAGER_REQUIRE)) continue;
    const late = "var __require = (name) => process.getBuiltinModule(name);\n";
    await Deno.writeTextFile(join(app, name), text.replace(EAGER_REQUIRE, late));
    replaced++;
  }
  if (replaced === 0) throw new Error("deno bundle makes require() in another way than build/build.ts knows");
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

async function writeChecksum(file: string): Promise<void> {
  const name = file.slice(file.lastIndexOf("/") + 1);
  await Deno.writeTextFile(`${file}.sha256`, `${await sha256(await Deno.readFile(file))}  ${name}\n`);
}

/** CycloneDX 1.6: the runtime, and each npm package of deno.lock with the hash it was fetched by. */
async function writeBillOfMaterials(file: string, commit: string): Promise<void> {
  const lock: { npm?: Record<string, { integrity?: string }> } = JSON.parse(
    await Deno.readTextFile("deno.lock"),
  );
  const packages = Object.entries(lock.npm ?? {}).map(([key, { integrity }]) => {
    const at = key.indexOf("@", 1);
    const name = key.slice(0, at);
    const version = key.slice(at + 1).split("_")[0] ?? "";
    const [, base64] = /^sha512-(.+)$/.exec(integrity ?? "") ?? [];
    return {
      type: "library",
      name,
      version,
      purl: `pkg:npm/${name.replace("@", "%40")}@${version}`,
      ...(base64 === undefined
        ? {}
        : { hashes: [{ alg: "SHA-512", content: Uint8Array.fromBase64(base64).toHex() }] }),
    };
  });
  const runtime = {
    type: "platform",
    name: "deno",
    version: Deno.version.deno,
    purl: `pkg:github/denoland/deno@v${Deno.version.deno}`,
  };
  const bill = {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    version: 1,
    metadata: {
      component: {
        type: "application",
        name: "mailapp",
        version: project.version,
        description: `commit ${commit}`,
      },
    },
    components: [runtime, ...packages],
  };
  await Deno.writeTextFile(file, JSON.stringify(bill, null, 2) + "\n");
}
