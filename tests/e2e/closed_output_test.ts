// Commands that make things, whose output is closed before they have said a word, as by `| head -0`.
import assert from "node:assert/strict";
import { relative } from "@std/path";
import { Workspace } from "../support/mailapp.ts";
import { environmentOf, program } from "../support/program.ts";

/** Runs it with a pipe that nobody reads; its exit code. */
async function unread(args: readonly string[]): Promise<number> {
  // The reader has gone before the first byte comes.
  const { code } = await new Deno.Command("sh", {
    args: [
      "-c",
      `exec 3>&1; { { "$@" 2>&1; echo $? >&3; } | :; } 3>&1 | { read code; exit "$code"; }`,
      "sh",
      ...program(),
      ...args,
    ],
    env: environmentOf(args[0]),
    stdout: "null",
  }).output();
  return code;
}

/** The files below a directory, with their sizes; keys differ from run to run. */
async function tree(root: string, at = root): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(at)) {
    const path = `${at}/${name}`;
    found.push(relative(root, path));
    if (isDirectory) found.push(...await tree(root, path));
  }
  return found.sort();
}

Deno.test("install and init finish their work where nobody reads what they say", async () => {
  await using workspace = await Workspace.create();
  const init = (name: string) => [
    "init",
    ...["--config", workspace.file(name, "config.toml"), "--data-dir", workspace.file(name, "data")],
    ...["--hostname", "mx.example.com", "--domain", "example.com", "example.net", "--mailbox", "alice"],
    ...["--postmaster", "alice", "--self-signed", "--no-submission", "--yes"],
  ];
  const install = (name: string) => [
    "install",
    ...["--config", workspace.file("read", "config.toml"), "--prefix", workspace.file(`${name}-root`)],
    ...["--executable", "/usr/bin/mailapp"],
  ];
  for (const command of [init, install]) {
    const read = await new Deno.Command(program()[0] ?? "", {
      args: [...program().slice(1), ...command("read")],
      env: environmentOf("init"),
    }).output();
    assert.equal(read.code, 0, new TextDecoder().decode(read.stderr));
    assert.equal(await unread(command("unread")), 0);
    const suffix = command === init ? "" : "-root";
    const expected = await tree(workspace.file(`read${suffix}`));
    assert.ok(expected.length > 5, expected.join("\n"));
    assert.deepEqual(await tree(workspace.file(`unread${suffix}`)), expected);
  }
});
