import assert from "node:assert/strict";
import { makeFolder } from "../tests/support/peers/folder.ts";
import { run } from "../tests/support/peers/process.ts";
import { compileArguments, launcherEnd, LINK_NAMES, linkNameCases, RUN_FLAGS } from "./run_flags.ts";
import { v8FlagsOf } from "./v8_flags.ts";

/** What the launcher runs for these arguments, with a stand-in for the runtime. */
async function launched(args: readonly string[], name = "mailapp"): Promise<string[]> {
  await using folder = await makeFolder("launcher");
  await folder.write("deno", '#!/bin/sh\nprintf "%s\\n" "$@"\n');
  await Deno.chmod(folder.at("deno"), 0o755);
  await folder.write(name, `#!/bin/sh\nset -u\n${linkNameCases()}${launcherEnd(folder.path)}`);
  const { stdout, stderr, code } = await run("sh", { args: [folder.at(name), ...args] });
  assert.equal(code, 0, stderr);
  return stdout.replaceAll(folder.path, "HOME").trimEnd().split("\n");
}

Deno.test("the compiled and the portable form are given the same flags, permissions and entry", async () => {
  const compiled = compileArguments({ target: "t", output: "o" });
  const portable = await launched(["doctor", "--json"]);
  const flags = (words: readonly string[]) =>
    words.filter((word) => /^--(?:allow|unstable|no-prompt|v8-flags|deny)/.test(word)).sort();
  assert.deepEqual(flags(compiled), flags(portable));
  assert.deepEqual(flags(compiled).filter((flag) => !flag.startsWith("--v8-flags")), [...RUN_FLAGS].sort());
  assert.deepEqual(portable.slice(-3), ["HOME/app/entry.js", "doctor", "--json"]);
});

Deno.test("of what the portable form gives serve-out, the compiled form lacks two flags, as all commands have the same", async () => {
  const flagsOf = (words: readonly string[]) =>
    words.find((word) => word.startsWith("--v8-flags="))?.slice("--v8-flags=".length).split(",") ?? [];
  const compiled = flagsOf(compileArguments({ target: "t", output: "o" }));
  const portable = flagsOf(await launched(["serve-out"]));
  assert.deepEqual(compiled, portable.slice(0, compiled.length));
  assert.deepEqual(portable.slice(compiled.length), [
    "--max-semi-space-size=8",
    "--heap-growing-percent=100",
  ]);
});

Deno.test("a launcher gives serve-out its own flags of V8, and links their meaning", async () => {
  assert.ok((await launched(["serve-out"])).includes(`--v8-flags=${v8FlagsOf("serve-out")}`));
  assert.ok((await launched(["serve-in"])).includes(`--v8-flags=${v8FlagsOf("serve-in")}`));
  for (const [name, words] of Object.entries(LINK_NAMES)) {
    const [, ...args] = (await launched(["-x", "a b"], name)).join("\n").split("entry.js\n");
    assert.equal(args.join(), [...words, "-x", "a b"].join("\n"), name);
  }
  const main = await Deno.readTextFile(new URL("../main.ts", import.meta.url));
  for (const [name, words] of Object.entries(LINK_NAMES)) {
    assert.ok(main.includes(`  ${name}: ${JSON.stringify(words).replaceAll(",", ", ")},\n`), name);
  }
});
