// docs/behaviour.md and docs/rfc.md point at tests; what they point at must be there.
import assert from "node:assert/strict";

const root = new URL("..", import.meta.url);

for (const page of ["docs/behaviour.md", "docs/rfc.md"]) {
  Deno.test(`${page} names files and tests that are there`, async () => {
    // As wide as the formatter made it: names may be broken over lines outside of tables.
    const text = (await Deno.readTextFile(new URL(page, root))).replace(/\n(?=\S)/g, " ");
    let pointers = 0;
    for (const [pointer, path, name] of text.matchAll(/`([a-z_]+(?:\/[\w.*]+)+)`(?: "([^"]+)")?/g)) {
      if (path === undefined || path.includes("*")) continue;
      pointers++;
      const source = await Deno.readTextFile(new URL(path, root)).catch(() => undefined);
      assert.ok(source !== undefined, `${page}: no file ${path}`);
      // A name that is made by a loop is given by its beginning.
      const [beginning = ""] = (name ?? "").split("…");
      assert.ok(source.includes(beginning.trimEnd()), `${page}: no test ${pointer}`);
    }
    assert.ok(pointers > 50, `${page} points at ${pointers} files only`);
  });
}
