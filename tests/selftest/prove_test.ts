// mailapp prove: keeps its word on real file systems in loop devices, and sees a sync that does nothing.
import assert from "node:assert/strict";
import { runMailapp, Workspace } from "../support/mailapp.ts";
import { program } from "../support/program.ts";
import { run as runProgram } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";
import { hasForm } from "./guide_samples.ts";
import { asRoot } from "../faults/setting.ts";

/** Kills at random, and steps of each way, of one run; more in the long form. No clock ends it on a slow machine. */
const ROUNDS = Deno.env.get("MAILAPP_FAULT_ROUNDS") ?? "2";
const STEPS = ROUNDS === "2" ? "2" : "200";
const LIMITS = ["--rounds", ROUNDS, "--steps", STEPS, "--minutes", "60"];
const KILLS = 2 + 4 * 2;

async function run([program = "", ...args]: readonly string[]): Promise<void> {
  const { code, stderr } = await runProgram(program, { args });
  assert.equal(code, 0, `${program}: ${stderr}`);
}

/** A file system in a file, mounted; it is gone when this is disposed. */
async function mounted(
  workspace: Workspace,
  { make, options = "loop" }: { readonly make: readonly string[]; readonly options?: string },
): Promise<{ readonly path: string } & AsyncDisposable> {
  const [image, path] = [workspace.file("image"), workspace.file("mounted")];
  await run(["truncate", "-s", "400M", image]);
  await run([...make, image]);
  await Deno.mkdir(path);
  await run(["mount", "-o", options, image, path]);
  return { path, [Symbol.asyncDispose]: () => run(["umount", path]) };
}

const FILE_SYSTEMS = [["mkfs.ext4", "-q"], ["mkfs.xfs", "-q"], ["mkfs.btrfs", "-q"]] as const;

for (const make of FILE_SYSTEMS) {
  const [maker] = make;
  testWith(asRoot(maker, "mount"), `mailapp prove passes on a file system of ${maker}`, async () => {
    await using workspace = await Workspace.create();
    await using place = await mounted(workspace, { make });
    const report = workspace.file("report.txt");
    const { code, stdout, stderr } = await runMailapp(
      ["prove", place.path, ...LIMITS, "--report", report],
    );
    assert.equal(code, 0, stdout + stderr);
    const [, kills] = /ok: serve-in, killed (\d+) times.*: [1-9]\d*, all stored and complete/.exec(stdout) ??
      [];
    assert.ok(Number(kills) >= KILLS, stdout);
    assert.match(stdout, /ok: serve-out, killed \d+ times.*: [1-9]\d*, all stored and complete/);
    assert.match(stdout, /ok: a sync of 8 MiB.*each returned only after the device had written all of it/);
    assert.match(stdout, /cannot be shown: a loss of power/);
    if (maker === "mkfs.ext4") hasForm("prove", stdout);
    assert.ok((await Deno.readTextFile(report)).includes("messages acknowledged: none lost"));
    assert.deepEqual(
      await Array.fromAsync(Deno.readDir(place.path), ({ name }) => name).then((names) =>
        names.filter((name) => name !== "lost+found")
      ),
      [],
    );
  });
}

testWith(asRoot("mkfs.ext4", "mount", "strace"), "mailapp prove fails where syncs do nothing", async () => {
  await using workspace = await Workspace.create();
  await using place = await mounted(workspace, { make: ["mkfs.ext4", "-q"] });
  const { code, stdout, stderr } = await runMailapp(
    ["prove", place.path, "--rounds", "0", "--minutes", "0"],
    {
      program: [
        ...["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync"],
        ...["-e", "inject=fsync,fdatasync:retval=0"],
        ...program(),
      ],
    },
  );
  assert.equal(code, 69, stdout + stderr);
  assert.match(
    stdout,
    /FAILURE: a sync of 8 MiB.*the device had written only \d+ octets: syncs do nothing here/,
  );
  hasForm("prove-lies", stdout, { keep: (line) => /^(?:FAILURE|WARNING| {4}→ (?:Do not|Look))/.test(line) });
});

testWith(asRoot("mount"), "mailapp prove says that a file system in memory keeps nothing", async () => {
  await using workspace = await Workspace.create();
  const path = workspace.file("memory");
  await Deno.mkdir(path);
  await run(["mount", "-t", "tmpfs", "none", path]);
  try {
    const { code, stdout } = await runMailapp(["prove", path, "--rounds", "0", "--minutes", "0"]);
    assert.equal(code, 69);
    assert.match(stdout, /FAILURE: .*tmpfs.*is in memory/);
  } finally {
    await run(["umount", path]);
  }
});

/** What swallows syncs, and how prove is run there. */
const LIARS:
  readonly (readonly [string, readonly string[], (path: string) => Promise<readonly string[]>, RegExp])[] = [
    [
      "a library that swallows fsync (eatmydata)",
      ["eatmydata"],
      () => Promise.resolve(["eatmydata"]),
      /FAILURE: a sync of 8 MiB.*syncs do nothing here/,
    ],
    [
      "ext4 without barriers",
      [],
      async (path) => {
        await run(["mount", "-o", "remount,barrier=0", path]);
        return [];
      },
      /FAILURE: .*is mounted without barriers/,
    ],
  ];

for (const [what, programs, lie, expected] of LIARS) {
  testWith(asRoot("mkfs.ext4", "mount", ...programs), `mailapp prove fails with ${what}`, async () => {
    await using workspace = await Workspace.create();
    await using place = await mounted(workspace, { make: ["mkfs.ext4", "-q"] });
    const through = await lie(place.path);
    const { code, stdout, stderr } = await runMailapp(
      ["prove", place.path, "--rounds", "0", "--minutes", "0"],
      { through },
    );
    assert.equal(code, 69, stdout + stderr);
    assert.match(stdout, expected);
  });
}

testWith(asRoot("mkfs.ext4", "mount"), "mailapp prove fails on a volatile overlay", async () => {
  await using workspace = await Workspace.create();
  await using place = await mounted(workspace, { make: ["mkfs.ext4", "-q"] });
  const [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map((name) =>
    `${place.path}/${name}`
  );
  for (const path of [lower, upper, work, merged]) await Deno.mkdir(path ?? "");
  const layers = `lowerdir=${lower},upperdir=${upper},workdir=${work},volatile`;
  await run(["mount", "-t", "overlay", "-o", layers, "none", merged ?? ""]);
  try {
    const { code, stdout } = await runMailapp(["prove", merged ?? "", "--rounds", "0", "--minutes", "0"]);
    assert.equal(code, 69);
    assert.match(stdout, /FAILURE: .*mounted volatile: its syncs do nothing/);
    assert.match(stdout, /FAILURE: .*is a container's layer/);
  } finally {
    await run(["umount", merged ?? ""]);
  }
});
