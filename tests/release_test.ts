// .github/workflows/release.yml, which runs on a public forge alone: what it says is well-formed, and its shell steps do
// what they must with stand-ins for apt-get, npx and gh.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import deno from "../deno.json" with { type: "json" };
import { type Folder, makeFolder } from "./support/peers/folder.ts";
import { run } from "./support/peers/process.ts";
import { testWith } from "./support/requires.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));

interface Step {
  readonly name?: string;
  readonly uses?: string;
  readonly run?: string;
  readonly env?: Readonly<Record<string, string>>;
}

interface Job {
  readonly needs?: string;
  readonly "timeout-minutes"?: number;
  readonly strategy?: { readonly matrix: { readonly include: readonly { readonly target: string }[] } };
  readonly env?: Readonly<Record<string, string>>;
  readonly steps: readonly Step[];
}

async function readJobs(): Promise<Record<string, Job>> {
  const text = await Deno.readTextFile(`${ROOT}.github/workflows/release.yml`);
  return (parse(text) as { jobs: Record<string, Job> }).jobs;
}

/** Stand-ins: each writes its arguments to `calls`; npx makes the files that deno task does. */
const STUBS: Readonly<Record<string, string>> = {
  "apt-get": "",
  gh: "",
  ".ci/install": "",
  ".ci/run": "",
  npx: `
    case "$3 $4" in
      "task build")
        [ -z "\${NO_BASE:-}" ] || { echo "NOT RUN: deno compile for $6: no denort"; exit 0; }
        printf '#!/bin/sh\\necho "mailapp 0.2.0 (compiled form)"\\n' >"dist/mailapp-$6"; chmod +x "dist/mailapp-$6"
        (cd dist && sha256sum "mailapp-$6" >"mailapp-$6.sha256"; echo {} >"mailapp-$6.cdx.json") ;;
      "task package")
        test -x "$6"; arch=\${6##*mailapp-}; mkdir -p tree/DEBIAN
        printf 'Package: mailapp\\nVersion: 0.2.0\\nArchitecture: all\\nMaintainer: a <a@b.example>\\nDescription: x\\n' \\
          >tree/DEBIAN/control
        dpkg-deb --build tree "dist/mailapp_0.2.0_\${arch%%-*}.deb" ;;
      "test -A")
        test "$MAILAPP_CI $MAILAPP_FORM" = "1 compiled"; test -x "$MAILAPP_BUILT"
        for path in "$6" "$7"; do test -e "$ROOT/$path"; done ;;
      *) exit 1 ;;
    esac`,
};

/** Runs the shell steps of a job as the forge does; the exit code of the first that fails, and what was called. */
async function follow(
  job: Job,
  { folder, variables = {} }: { folder: Folder; variables?: Readonly<Record<string, string>> },
): Promise<{ code: number; calls: string }> {
  const calls = folder.at("calls");
  await Deno.writeTextFile(calls, "");
  for (const [name, script] of Object.entries(STUBS)) {
    const path = folder.at(name.includes("/") ? name : `bin/${name}`);
    await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    await Deno.writeTextFile(path, `#!/bin/sh\nset -eu\necho ${name} "$*" >>"$CALLS"\n${script}\n`);
    await Deno.chmod(path, 0o755);
  }
  const filled = (text: string) =>
    text.replaceAll(/\$\{\{ ([\w.]+) \}\}/g, (_, name: string) => variables[name] ?? `no ${name}`);
  for (const step of job.steps) {
    if (step.run === undefined) continue;
    const env = Object.fromEntries(
      Object.entries({ ...job.env, ...step.env }).map(([name, value]) => [name, filled(value)]),
    );
    const { code } = await run("bash", {
      args: ["--noprofile", "--norc", "-eo", "pipefail", "-c", `cd "$AT"; ${filled(step.run)}`],
      env: {
        ...env,
        ...{ AT: folder.path, CALLS: calls, ROOT, HOME: folder.path },
        ...{ GITHUB_WORKSPACE: folder.path, GITHUB_REF_NAME: "v0.2.0", GITHUB_REPOSITORY: "a/b" },
        NO_BASE: variables["NO_BASE"] ?? "",
        PATH: `${folder.at("bin")}:${Deno.env.get("PATH")}`,
      },
    });
    if (code !== 0) return { code, calls: await Deno.readTextFile(calls) };
  }
  return { code: 0, calls: await Deno.readTextFile(calls) };
}

Deno.test("the release's jobs wait for each other, end, and use actions of a fixed version", async () => {
  const jobs = await readJobs();
  assert.deepEqual(Object.entries(jobs).map(([name, { needs }]) => [name, needs]), [
    ["test", undefined],
    ["build", "test"],
    ["attach", "build"],
  ]);
  for (const [name, { steps, "timeout-minutes": minutes }] of Object.entries(jobs)) {
    if (name !== "attach") assert.ok((minutes ?? 0) >= 30, name);
    for (const { uses, run } of steps) {
      assert.ok((uses === undefined) !== (run === undefined), name);
      if (uses !== undefined) assert.match(uses, /^actions\/[\w-]+@[0-9a-f]{40}$/);
      for (const [, task = ""] of (run ?? "").matchAll(/\btask (\w+)/g)) {
        assert.ok(Object.hasOwn(deno.tasks, task), task);
      }
    }
  }
});

testWith(["bash", "dpkg-deb", "git", "sha256sum"], "the release's shell steps, with stand-ins", async (t) => {
  const jobs = await readJobs();
  const { test, build, attach } = jobs;
  assert.ok(test && build && attach);
  await t.step("test: all that CI does", async () => {
    await using folder = await makeFolder("release");
    const { code, calls } = await follow(test, { folder });
    assert.equal(code, 0, calls);
    assert.match(calls, /^\.ci\/run/m);
  });
  await t.step("build and attach: both machines' files, with sums that are right", async () => {
    await using folder = await makeFolder("release");
    await using release = await makeFolder("attach");
    await Deno.mkdir(release.at("dist"));
    for (const { target } of build.strategy?.matrix.include ?? []) {
      await Deno.mkdir(folder.at("dist"));
      const { code, calls } = await follow(build, { folder, variables: { "matrix.target": target } });
      assert.equal(code, 0, calls);
      assert.match(calls, /^\.ci\/install/m);
      assert.match(calls, /^npx --yes deno@2\.9\.6 test -A --frozen tests\/appliance /m);
      // What upload-artifact and download-artifact do.
      for await (const { name } of Deno.readDir(folder.at("dist"))) {
        await Deno.rename(folder.at(`dist/${name}`), release.at(`dist/${name}`));
      }
      await Deno.remove(folder.at("dist"), { recursive: true });
    }
    const { code, calls } = await follow(attach, { folder: release });
    assert.equal(code, 0, calls);
    const [, files = ""] = /^gh release create v0\.2\.0 --repo a\/b --generate-notes (.*)$/m.exec(calls) ??
      [];
    const machines = ["aarch64", "x86_64"];
    assert.deepEqual(
      files.split(" ").sort(),
      machines.flatMap((machine) => {
        const [file, deb] = [
          `dist/mailapp-${machine}-unknown-linux-gnu`,
          `dist/mailapp_0.2.0_${machine}.deb`,
        ];
        return [file, `${file}.cdx.json`, `${file}.sha256`, deb, `${deb}.sha256`];
      }).sort(),
    );
    await Deno.writeTextFile(release.at(`dist/mailapp-x86_64-unknown-linux-gnu`), "other");
    const spoilt = await follow(attach, { folder: release });
    assert.notEqual(spoilt.code, 0);
    assert.doesNotMatch(spoilt.calls, /^gh/m);
  });
  await t.step("build: a file that could not be compiled ends it", async () => {
    await using folder = await makeFolder("release");
    await Deno.mkdir(folder.at("dist"));
    const variables = { "matrix.target": "x86_64-unknown-linux-gnu", NO_BASE: "1" };
    const { code, calls } = await follow(build, { folder, variables });
    assert.notEqual(code, 0);
    assert.doesNotMatch(calls, / test -A/);
  });
});
