/**
 * `deno task package`: the Debian package of a built file, `dist/mailapp_VERSION_ARCH.deb`, by dpkg-deb alone.
 * `--built` names the file (default: dist/mailapp, which `deno task build` makes), `--out` the directory,
 * `--compression` is xz (default), gzip or none, `--revision` is added to the version.
 *
 * The portable form is unpacked in the package: its runtime and program are in a directory with the hash of both, so
 * that nothing of a running version changes while another one is unpacked.
 *
 * @module
 */
import { dirname, join } from "@std/path";
import { parseArgs } from "node:util";
import { completedCommands } from "../../cli/completion/word_tree.ts";
import { SHELLS } from "../../cli/completion/completion.ts";
import { describeProgram } from "../../cli/command_line/command_line.ts";
import { DASHBOARD_UNIT } from "../../cli/install/dashboard_unit.ts";
import { packagedFiles } from "../../cli/install/package.ts";
import { allServers } from "../../server/servers.ts";
import project from "../../deno.json" with { type: "json" };
import { MANUAL_ALIASES, manualPages } from "../man/pages.ts";
import { launcherEnd, LINK_NAMES, linkNameCases } from "../run_flags.ts";
import { ARCHITECTURES, changelog, controlFile, copyrightFile } from "./control.ts";

const { values: options } = parseArgs({
  args: Deno.args.filter((argument) => argument !== "--"),
  options: {
    built: { type: "string", default: "dist/mailapp" },
    out: { type: "string", default: "dist" },
    compression: { type: "string", default: "xz" },
    revision: { type: "string", default: "" },
  },
});
const HERE = new URL("./", import.meta.url);
const ROOT = new URL("../../", import.meta.url);
const version = project.version + options.revision;
const architecture = ARCHITECTURES[Deno.build.arch];
const maintainer = `${Deno.env.get("DEBFULLNAME") ?? "mailapp authors"} <${
  Deno.env.get("DEBEMAIL") ?? "maintainers@users.noreply.github.com"
}>`;
const date = new Date(Number(await commitTime()) * 1000);
// For dpkg-deb.
Deno.env.set("SOURCE_DATE_EPOCH", String(date.getTime() / 1000));
const tree = await Deno.makeTempDir({ prefix: "mailapp-package-" });
try {
  await Deno.chmod(tree, 0o755);
  const app = await placeProgram();
  await placeLinks();
  for (const { path, text, mode } of await packagedFiles()) await place(path, text, mode);
  await placeManual();
  await placeCompletions();
  await placeDocumentation();
  await placeControl(app);
  await run(
    "find",
    tree,
    "-exec",
    "touch",
    "--no-dereference",
    `--date=@${date.getTime() / 1000}`,
    "{}",
    "+",
  );
  await Deno.mkdir(options.out, { recursive: true });
  const file = join(options.out, `mailapp_${version}_${architecture}.deb`);
  const level = options.compression === "gzip" ? ["-z1"] : [];
  await run("dpkg-deb", "--root-owner-group", `-Z${options.compression}`, ...level, "--build", tree, file);
  const { size } = await Deno.stat(file);
  console.log(`${file}: ${(size / 1e6).toFixed(1)} MB`);
} finally {
  await Deno.remove(tree, { recursive: true });
}

async function commitTime(): Promise<string> {
  return Deno.env.get("SOURCE_DATE_EPOCH") ?? (await run("git", "log", "-1", "--format=%ct")).trim();
}

/** Runs a program, which must succeed; returns what it wrote. */
async function run(program: string, ...args: readonly string[]): Promise<string> {
  const { success, stdout } = await new Deno.Command(program, {
    args: [...args],
    env: { LC_ALL: "C.UTF-8" },
    stderr: "inherit",
  }).output();
  if (!success) throw new Error(`${program} ${args.join(" ")} has failed`);
  return new TextDecoder().decode(stdout);
}

async function place(path: string, content: string | Uint8Array, mode = 0o644): Promise<void> {
  const to = tree + path;
  await directory(dirname(to));
  await Deno.writeFile(to, typeof content === "string" ? new TextEncoder().encode(content) : content);
  await Deno.chmod(to, mode);
}

async function directory(path: string): Promise<void> {
  await Deno.mkdir(path, { recursive: true });
  for (let at = path; at.length > tree.length; at = dirname(at)) await Deno.chmod(at, 0o755);
}

async function link(path: string, target: string): Promise<void> {
  await directory(dirname(tree + path));
  await Deno.symlink(target, tree + path);
}

async function read(name: string, from = ROOT): Promise<string> {
  return await Deno.readTextFile(new URL(name, from));
}

/** Gives the name of the directory of the program. */
async function placeProgram(): Promise<string> {
  const head = (await Deno.readFile(options.built)).subarray(0, 20_000);
  const text = new TextDecoder("latin1").decode(head);
  const [, hash = ""] = /^payload_sha256=([0-9a-f]{64})$/m.exec(text) ?? [];
  const [, offset = ""] = /^payload_offset=(\d+) *$/m.exec(text) ?? [];
  if (hash === "") {
    await place("/usr/bin/mailapp", await Deno.readFile(options.built), 0o755);
    return "app";
  }
  const app = `app-${hash.slice(0, 16)}`;
  const home = `${tree}/usr/lib/mailapp/${app}`;
  await directory(home);
  await run(
    "sh",
    "-euc",
    'tail -c "+$1" -- "$2" | gzip -dc | tar -x -C "$3" -f -',
    "sh",
    offset,
    options.built,
    home,
  );
  const launcher = (await read("launcher.sh", HERE)).replaceAll("@VERSION@", version).replaceAll("@APP@", app)
    .replace("@LINK_NAMES@", () => linkNameCases()).replace("@LAUNCH@", () => launcherEnd("$home"));
  // After the directory in the order of names, in which dpkg renames new files into place.
  await place("/usr/lib/mailapp/mailapp", launcher, 0o755);
  await link("/usr/bin/mailapp", "../lib/mailapp/mailapp");
  return app;
}

async function placeLinks(): Promise<void> {
  for (const name of Object.keys(LINK_NAMES)) {
    if (name === "sendmail") await link("/usr/sbin/sendmail", "../bin/mailapp");
    else await link(`/usr/bin/${name}`, "mailapp");
  }
  await link("/usr/lib/sendmail", "../sbin/sendmail");
}

async function placeManual(): Promise<void> {
  const pages = await manualPages({ version, date: date.toISOString().slice(0, 10) });
  const pathOf = (file: string) => `/usr/share/man/man${file.slice(-1)}/${file}`;
  for (const { file, text } of pages) {
    await place(pathOf(file), text);
    await run("gzip", "-9n", tree + pathOf(file));
  }
  for (const [file, target] of Object.entries(MANUAL_ALIASES)) {
    const up = pathOf(file).startsWith(dirname(pathOf(target))) ? "" : `../man${target.slice(-1)}/`;
    await link(`${pathOf(file)}.gz`, `${up}${target}.gz`);
  }
}

async function placeCompletions(): Promise<void> {
  const commands = completedCommands(await describeProgram());
  const script = (shell: string) => SHELLS[shell]?.(commands) ?? "";
  await place("/usr/share/bash-completion/completions/mailapp", script("bash"));
  await place("/usr/share/zsh/vendor-completions/_mailapp", script("zsh"));
  await place("/usr/share/fish/vendor_completions.d/mailapp.fish", script("fish"));
}

async function placeDocumentation(): Promise<void> {
  const docs = "/usr/share/doc/mailapp";
  for (const name of ["README.md", "CHANGELOG.md", "SECURITY.md", "config.example.toml"]) {
    await place(`${docs}/${name}`, await read(name));
  }
  for (const folder of ["docs/", "docs/guide/"]) {
    for await (const { name, isFile } of Deno.readDir(new URL(folder, ROOT))) {
      if (isFile) await place(`${docs}/${folder}${name}`, await read(folder + name));
    }
  }
  const lock: { npm?: Record<string, unknown> } = JSON.parse(await read("deno.lock"));
  const packages = Object.keys(lock.npm ?? {}).map((name) => name.replace(/(?<=.)_.*$/, ""));
  await place(`${docs}/copyright`, copyrightFile(await read("LICENSE"), packages));
  await place(`${docs}/changelog`, changelog({ version, maintainer }, date));
  await run("gzip", "-9n", `${tree}${docs}/changelog`);
  await place("/usr/share/lintian/overrides/mailapp", await read("lintian-overrides", HERE));
}

async function placeControl(app: string): Promise<void> {
  const sums = await run(
    "sh",
    "-euc",
    'cd "$1"; find . -type f ! -path "./DEBIAN/*" -printf "%P\\0" | sort -z | xargs -0 md5sum',
    "sh",
    tree,
  );
  const [kib = "0"] = (await run("du", "-sk", "--apparent-size", tree)).split("\t");
  await place(
    "/DEBIAN/control",
    controlFile({ version, architecture, maintainer, installedSize: Number(kib) }),
  );
  await place("/DEBIAN/md5sums", sums);
  const servers = (await allServers()).map(({ unit }) => unit.name);
  // What runs for long: an upgrade restarts these.
  const units = [
    ...[...servers, DASHBOARD_UNIT].map((name) => `${name}.service`),
    "mailapp-certificate.timer",
  ].join(" ");
  for (const name of ["postinst", "prerm", "postrm"]) {
    const text = (await read(`${name}.sh`, HERE)).replaceAll("@UNITS@", units).replaceAll("@APP@", app);
    await place(`/DEBIAN/${name}`, text, 0o755);
  }
}
