import assert from "node:assert/strict";
import { join } from "@std/path";
import { readOwnFile } from "./own_file.ts";

Deno.test("readOwnFile() reads regular files of a bounded size, waits for no pipe, and follows links", async () => {
  const directory = await Deno.makeTempDir();
  const at = (name: string) => join(directory, name);
  await Deno.writeTextFile(at("file"), "text");
  await Deno.symlink("file", at("link"));
  await Deno.symlink("/dev/zero", at("device"));
  await Deno.mkdir(at("directory"));
  assert.ok((await new Deno.Command("mkfifo", { args: [at("pipe")] }).output()).success);
  assert.equal(await readOwnFile(at("file")), "text");
  assert.equal(await readOwnFile(at("link"), { most: 4 }), "text");
  await assert.rejects(readOwnFile(at("file"), { most: 3 }), /longer than 3 octets/);
  for (const name of ["device", "directory", "pipe"]) {
    await assert.rejects(readOwnFile(at(name)), { message: `${at(name)} is not a regular file` });
  }
  await assert.rejects(readOwnFile(at("none")), Deno.errors.NotFound);
  await Deno.remove(directory, { recursive: true });
});
