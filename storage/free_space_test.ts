import assert from "node:assert/strict";
import { statfs } from "node:fs/promises";
import { freeRoom, freeSpace, lacksFiles } from "./free_space.ts";

Deno.test("freeSpace() of a path that is not there yet is that of its nearest parent", async () => {
  const { blocks, bsize } = await statfs("/");
  const free = await freeSpace("/nowhere/at/all");
  assert.ok(free > 0 && free <= blocks * bsize);
});

Deno.test("freeSpace() below a file fails", async () => {
  await assert.rejects(freeSpace("/etc/passwd/x"), { name: "StorageError", code: "ENOTDIR" });
});

Deno.test("lacksFiles() where less than a twentieth of the files can be made, or less than a thousand", () => {
  const lacks = (free: number, total: number) => lacksFiles({ octets: 1e12, files: { free, total } });
  assert.deepEqual([lacks(14, 300), lacks(15, 300), lacks(0, 300)], [true, false, true]);
  assert.deepEqual([lacks(999, 1e7), lacks(1000, 1e7)], [true, false]);
  assert.equal(lacksFiles({ octets: 0 }), false);
});

Deno.test("freeRoom() tells the size, and files only where they have a limit", async () => {
  const { blocks, bsize, files, ffree } = await statfs("/tmp");
  const room = await freeRoom("/tmp");
  assert.equal(room.size, blocks * bsize);
  assert.equal(room.files?.total, files === 0 ? undefined : files);
  assert.ok(files === 0 || Math.abs((room.files?.free ?? 0) - ffree) < files / 10);
});
