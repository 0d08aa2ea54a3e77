// mailapp prove: keeps its word on real file systems in loop devices, and sees a sync that does nothing.
import assert from "node:assert/strict";
import { runMailapp, Workspace } from "../support/mailapp.ts";
import { program } from "../support/program.ts";
import { run as runProgram } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";
import { asRoot } from "../faults/setting.ts";

/** Kills at random, and minutes, of one run; more in the long form. */
const ROUNDS = Deno.env.get("MAILAPP_FAULT_ROUNDS") ?? "2";
const MINUTES = ROUNDS === "2" ? "0.7" : "10";

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
      ["prove", place.path, "--rounds", ROUNDS, "--minutes", MINUTES, "--report", report],
    );
    assert.equal(code, 0, stdout + stderr);
    assert.match(stdout, /ok: serve-in, killed \d+ times.*: [1-9]\d*, all stored and complete/);
    assert.match(stdout, /ok: serve-out, killed \d+ times.*: [1-9]\d*, all stored and complete/);
    assert.match(stdout, /ok: a sync of 8 MiB.*each returned only after the device had written all of it/);
    assert.match(stdout, /cannot be shown: a loss of power/);
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
