// mod.ts as a library: imported from a project that knows nothing of our deno.json, it runs, and its example with it.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { makeFolder } from "./support/peers/folder.ts";
import { run } from "./support/peers/process.ts";

const MOD = fileURLToPath(new URL("../mod.ts", import.meta.url));

/** The example at the top of mod.ts. */
async function readExample(): Promise<string> {
  const text = await Deno.readTextFile(MOD);
  const [, example = ""] = /^ \* ```ts\n([^]*?)^ \* ```$/m.exec(text) ?? [];
  assert.match(example, /"@mailapp\/mailapp"/);
  return example.replaceAll(/^ \* ?/gm, "");
}

Deno.test("the example of mod.ts runs in its own project, by import map and by path", async (t) => {
  const example = await readExample();
  const ways = {
    "by the import map that README.md shows": { imports: { "@mailapp/mailapp": MOD }, text: example },
    "by path": { imports: {}, text: example.replaceAll('"@mailapp/mailapp"', JSON.stringify(MOD)) },
  };
  for (const [name, { imports, text }] of Object.entries(ways)) {
    await t.step(name, async () => {
      await using folder = await makeFolder("library");
      await folder.write("deno.json", JSON.stringify({ imports }));
      const main = await folder.write("main.ts", text);
      for (const command of [["check"], ["run", "--allow-net=127.0.0.1", "--cached-only"]]) {
        const { code, stdout, stderr } = await run(Deno.execPath(), {
          args: [...command, main],
          cwd: folder.path,
          env: { NO_COLOR: "1" },
        });
        assert.equal(code, 0, `${command[0]}\n${stdout}${stderr}`);
      }
    });
  }
});
