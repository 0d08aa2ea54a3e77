import assert from "node:assert/strict";
import { type AskRights, examinePaths, type PathRights } from "./path_access.ts";

/** A system with these paths and, in letters, what may be done with each. */
function system(tree: Readonly<Record<string, string>>): AskRights {
  return (paths) =>
    Promise.resolve(paths.map((path): PathRights => {
      const rights = tree[path];
      const may = (letter: string) => rights?.includes(letter) ?? false;
      return {
        exists: rights !== undefined,
        directory: !may("f"),
        read: may("r"),
        write: may("w"),
        search: may("x"),
      };
    }));
}

Deno.test("examinePaths() tells what is there, what could be made, and where the way is closed", async () => {
  const tree = {
    "/": "rx",
    "/var": "rx",
    "/var/mail": "rx",
    "/var/lib": "rwx",
    "/var/lib/a": "rwx",
    "/root": "",
    "/file": "frw",
  };
  const found = await examinePaths(
    ["/var/lib/a", "/var/lib/b/c/d", "/var/mail/third.example/alice", "/root/key.pem", "/", "/file/x"],
    system(tree),
  );
  assert.deepEqual([...found.values()], [
    { kind: "there", directory: true, read: true, write: true, search: true },
    { kind: "missing", first: "/var/lib/b", parent: "/var/lib", canMake: true },
    { kind: "missing", first: "/var/mail/third.example", parent: "/var/mail", canMake: false },
    { kind: "closed", at: "/root" },
    { kind: "there", directory: true, read: true, write: false, search: true },
    { kind: "blocked", at: "/file" },
  ]);
});

Deno.test("examinePaths() asks once for what several paths have in common", async () => {
  const asked: string[] = [];
  await examinePaths(["/a/b", "/a/c", "/a/b"], (paths) => {
    asked.push(...paths);
    return system({ "/": "rx", "/a": "rx" })(paths);
  });
  assert.deepEqual(asked.sort(), ["/", "/a", "/a/b", "/a/c"]);
});
