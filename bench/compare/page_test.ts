import assert from "node:assert/strict";
import { BEGIN, END, withTables } from "./page.ts";

Deno.test("withTables() puts tables in place of the old ones, however often", () => {
  const page = `# Performance\n\n${BEGIN}\n${END}\n\nThe rest, $& included.\n`;
  const once = withTables(page, "| old |");
  assert.equal(
    withTables(once, "| $1 new |\n"),
    `# Performance\n\n${BEGIN}\n\n| $1 new |\n\n${END}\n\nThe rest, $& included.\n`,
  );
});

Deno.test("withTables() refuses a page without a place for them", () => {
  assert.throws(() => withTables("# Performance\n", "| new |"), /has no lines/);
  assert.throws(() => withTables(`${END}\n${BEGIN}\n`, "| new |"), /has no lines/);
});

Deno.test("docs/performance.md has a place for tables", async () => {
  const page = await Deno.readTextFile(new URL("../../docs/performance.md", import.meta.url));
  assert.ok(withTables(page, "| new |").includes("| new |"));
});
