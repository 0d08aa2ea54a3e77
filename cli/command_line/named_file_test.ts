import assert from "node:assert/strict";
import { join } from "@std/path";
import { runMailapp, Workspace } from "../../tests/support/mailapp.ts";
import { namedFileProblem } from "./named_file.ts";

/** Every command that reads what its command line names, given such a name. */
const COMMANDS:
  readonly (readonly [name: string, kind: "file" | "directory", args: (path: string) => string[]])[] = [
    ["dmarc-report", "file", (path) => ["dmarc-report", path]],
    ["tls-report", "file", (path) => ["tls-report", path]],
    ["check-message", "file", (path) => ["check-message", path]],
    ["prove", "directory", (path) => ["prove", path, "--rounds", "0"]],
    [
      "prove --report",
      "directory",
      (path) => ["prove", "/tmp", "--rounds", "0", "--report", join(path, "x")],
    ],
    ["trace --log", "file", (path) => ["trace", "abcd12", "--log", path]],
    ["duplicates --log", "file", (path) => ["duplicates", "--log", path]],
    ["config", "file", (path) => ["config", "--config", path]],
    ["what-if", "file", (path) => ["what-if", "--installed", path]],
  ];

/** Words of the system and the runtime, which say little to people. */
const JARGON = /os error|\bE[A-Z]{4,}\b|\b(?:stat|open|realpath|readfile|readdir|lstat) '|\bat file:/;

for (const [name, kind, args] of COMMANDS) {
  Deno.test(`mailapp ${name} says which ${kind} is missing, in plain words`, async () => {
    await using workspace = await Workspace.create();
    const config = await workspace.configure();
    for (const path of [workspace.file("nowhere"), workspace.file("no", "directory", "here")]) {
      const given = args(path);
      const { code, stderr } = await runMailapp(given, { env: { MAILAPP_CONFIG: config } });
      assert.notEqual(code, 0, stderr);
      assert.ok(stderr.includes(path), stderr);
      assert.doesNotMatch(stderr, JARGON);
    }
  });
}

Deno.test("mailapp prove --rounds 0 kills nothing, and says that nothing was tested so", async () => {
  await using workspace = await Workspace.create();
  const { stdout } = await runMailapp(["prove", workspace.path, "--rounds", "0"]);
  assert.match(stdout, /\nnothing was killed: that the servers keep what they acknowledge was not tested; /);
  assert.doesNotMatch(stdout, /none lost/);
});

Deno.test("namedFileProblem() says what to do about each way in which a file cannot be used", async () => {
  const directory = await Deno.makeTempDir();
  const at = (...names: string[]) => join(directory, ...names);
  await Deno.writeTextFile(at("file"), "");
  await Deno.symlink(at("circle"), at("circle"));
  const tried = [
    [at("none"), /^no such file; check the name$/],
    ["none-of-this-name", /^no such file; check the name, or give the whole path: this is \//],
    ["", /^the name is empty; name a file$/],
    [directory, /^a directory; name a file in it$/],
    [at("file", "x"), /^\/\S+\/file is not a directory; check the path$/],
    [at("circle"), /^a symbolic link that leads in a circle/],
    [at("x".repeat(300)), /^the name is too long/],
  ] as const;
  for (const [path, said] of tried) {
    const error = await Deno.readTextFile(path).then(() => undefined, (error: unknown) => error);
    assert.match(namedFileProblem(path, error), said, path);
  }
  assert.match(
    namedFileProblem("/x", new Deno.errors.PermissionDenied("Permission denied (os error 13): open '/x'")),
    /^this account has no permission; use sudo/,
  );
  assert.equal(
    namedFileProblem("/x", new Error("Input/output error (os error 5): open '/x'")),
    "Input/output error: /x",
  );
  await Deno.remove(directory, { recursive: true });
});
