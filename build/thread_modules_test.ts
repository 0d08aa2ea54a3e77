import assert from "node:assert/strict";
import { makeFolder } from "../tests/support/peers/folder.ts";
import { separateThreads } from "./thread_modules.ts";

const SOURCES = ["serve_in", "serve_out", "serve_submit", "serve_policy"];

/** The text of a module as esbuild makes it. */
function bundled(
  source: string,
  { imports = [], later = [] }: { imports?: string[]; later?: string[] },
): string {
  const statics = imports.map((name) => `import {\n  a\n} from "./${name}";\n`).join("");
  return `${statics}import "./plain.js";\n\n// ${source}\nvar load = () => [${
    later.map((name) => `import("./${name}")`).join(", ")
  }];\n\nexport {\n  load\n};\n`;
}

Deno.test("a thread of the portable form names what it may need, also behind what it loads later, and no other server", async () => {
  await using folder = await makeFolder("threads");
  const modules: Record<string, string> = {
    "entry.js": bundled("main.ts", { later: ["servers-A.js", "run-B.js"] }),
    // What others import, too, is in a chunk, and the name that import() has only passes it on.
    "servers-A.js": 'import {\n  load\n} from "./chunk-A.js";\nexport {\n  load\n};\n',
    "chunk-A.js": bundled("server/servers.ts", {
      later: [
        ...SOURCES.map((name) => `${name}-C.js`),
        "serve_in_thread-D.js",
        "intake_thread-D.js",
        "hashing_worker-E.js",
      ],
    }),
    "serve_in_thread-D.js": bundled("server/dialogues/serve_in_thread.ts", {}),
    "serve_in_thread-F.js": bundled("cli/dashboard/serve_in_thread.ts", {}),
    "intake_thread-D.js": bundled("server/dialogues/intake_thread.ts", {}),
    "hashing_worker-E.js": bundled("accounts/hashing_worker.ts", {}),
    "plain.js": "",
    "run-B.js": bundled("cli/run.ts", {}),
    "shared-G.js": bundled("server/shared.ts", { imports: ["chunk-A.js"], later: ["seldom-H.js"] }),
    "seldom-H.js": bundled("server/seldom.ts", { later: ["rare-I.js", "seldom-H.js"] }),
    "rare-I.js": bundled("server/rare.ts", {}),
  };
  for (const name of SOURCES) {
    modules[`${name}-C.js`] = bundled(`server/${name}.ts`, { later: [`${name}_server-J.js`] });
    modules[`${name}_server-J.js`] = bundled(`server/${name}_server.ts`, {
      imports: name === "serve_in" ? ["shared-G.js"] : [],
    });
  }
  for (const [name, text] of Object.entries(modules)) await folder.write(name, text);
  await separateThreads(folder.path);

  const read = (name: string) => Deno.readTextFile(folder.at(name));
  const named = async (name: string) =>
    Array.from((await read(name)).matchAll(/import\("\.\/(.*)"\)/g), ([, found]) => found);
  assert.deepEqual(await named("thread-serve-in.js"), [
    "servers-A.js",
    "serve_in-C.js",
    "serve_in_server-J.js",
    "seldom-H.js",
    "rare-I.js",
  ]);
  assert.deepEqual(await named("thread-serve-out.js"), [
    "servers-A.js",
    "serve_out-C.js",
    "serve_out_server-J.js",
  ]);
  assert.deepEqual(await named("thread-serve-in-dialogues.js"), [
    "servers-A.js",
    "serve_in_thread-D.js",
  ]);
  assert.deepEqual(await named("thread-serve-out-dialogues.js"), ["servers-A.js", "intake_thread-D.js"]);
  assert.deepEqual(await named("thread-hasher.js"), ["servers-A.js", "hashing_worker-E.js"]);
  assert.deepEqual(await named("thread-launcher.js"), []);
  assert.match(await read("thread-launcher.js"), /^import "\.\/entry\.js";$/m);
  for (const name of Object.keys(modules)) assert.deepEqual(await named(name), [], name);
  assert.match(await read("seldom-H.js"), /\[import\(String\("\.\/rare-I\.js"\)\), import\(String\(/);
});

Deno.test("a source that the bundle lacks ends the build", async () => {
  await using folder = await makeFolder("threads");
  await folder.write("servers-A.js", bundled("server/servers.ts", {}));
  await assert.rejects(separateThreads(folder.path), /no module of server\/serve_in\.ts/);
});
