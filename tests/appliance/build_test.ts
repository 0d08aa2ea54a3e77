// `deno task build` over what is there already.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { makeFolder } from "../support/peers/folder.ts";
import { runOk } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

testWith(
  ["tar", "gzip", "sha256sum"],
  "the build replaces a portable file, and says truly why deno compile did not run",
  async () => {
    await using folder = await makeFolder("build");
    await Deno.writeTextFile(folder.at("mailapp"), "#!/bin/sh\nexit 1\n", { mode: 0o755 });
    // What is built does not matter here; this is small.
    const build = ["build/build.ts", "--entry", "tests/support/fake_dns.ts", "--out", folder.path];
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--frozen", ...build],
      cwd: ROOT,
    }).output();
    const said = new TextDecoder().decode(stdout);
    assert.ok(success, new TextDecoder().decode(stderr));
    for (const [, reason = ""] of said.matchAll(/^NOT RUN: deno compile for \S+: (.*)$/gm)) {
      // It has no base to work with; what was there is no reason.
      assert.match(reason, /denort/);
      assert.doesNotMatch(reason, /exists|overwrite|not generated/i);
    }
    assert.match(said, /^\S+: (?:portable|compiled) form, /m);
    await runOk("sh", { args: ["-c", `cd "${folder.path}" && sha256sum -c mailapp.sha256 && ./mailapp`] });
    const left = [...Deno.readDirSync(folder.path)].map(({ name }) => name).sort();
    assert.deepEqual(left, ["mailapp", "mailapp.cdx.json", "mailapp.sha256"]);
  },
);
