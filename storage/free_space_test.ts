import assert from "node:assert/strict";
import { statfs } from "node:fs/promises";
import { freeSpace } from "./free_space.ts";

Deno.test("freeSpace() of a path that is not there yet is that of its nearest parent", async () => {
  const { blocks, bsize } = await statfs("/");
  const free = await freeSpace("/nowhere/at/all");
  assert.ok(free > 0 && free <= blocks * bsize);
});

Deno.test("freeSpace() below a file fails", async () => {
  await assert.rejects(freeSpace("/etc/passwd/x"), { name: "StorageError", code: "ENOTDIR" });
});
