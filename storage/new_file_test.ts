import assert from "node:assert/strict";
import { join } from "@std/path";
import { FaultyFileSystem } from "../tests/support/faulty_file_system.ts";
import { NewFile } from "./new_file.ts";
import { StorageError } from "./storage_error.ts";

async function inDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "mailapp-file-" });
  try {
    await run(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const names = (directory: string) => Array.from(Deno.readDirSync(directory), ({ name }) => name);

Deno.test("NewFile is created, written, synced and closed before it is renamed", async () => {
  await inDirectory(async (directory) => {
    const fileSystem = new FaultyFileSystem();
    const path = join(directory, "a");
    const file = NewFile.create(path, { fileSystem });
    await file.write(new Uint8Array([1, 2]));
    await file.write(new Uint8Array([3]));
    assert.equal(file.size, 3);
    await file.finish();
    await file.publish(join(directory, "b"));
    assert.deepEqual(fileSystem.calls, [
      `open ${path}`,
      `write ${path}`,
      `write ${path}`,
      `sync ${path}`,
      `close ${path}`,
      `rename ${join(directory, "b")}`,
    ]);
    assert.deepEqual(await Deno.readFile(join(directory, "b")), new Uint8Array([1, 2, 3]));
    await file.discard();
    assert.deepEqual(names(directory), ["b"]);
  });
});

Deno.test("NewFile.write() writes large data whole", async () => {
  await inDirectory(async (directory) => {
    const data = new Uint8Array(3_000_000).map((_, i) => i % 251);
    const file = NewFile.create(join(directory, "a"));
    await file.write(data.subarray(0, 10));
    await file.write(data.subarray(10));
    await file.finish();
    assert.deepEqual(await Deno.readFile(file.path), data);
  });
});

Deno.test("NewFile.write() goes on where a write took only some", async () => {
  await inDirectory(async (directory) => {
    const fileSystem = new FaultyFileSystem();
    fileSystem.longestWrite = 70_000;
    const data = new Uint8Array(600_000).map((_, i) => i % 251);
    const file = NewFile.create(join(directory, "a"), { fileSystem });
    await file.write(data.subarray(0, 200_000));
    await file.write(data.subarray(200_000));
    await file.finish();
    assert.equal(file.size, data.length);
    assert.deepEqual(await Deno.readFile(file.path), data);
  });
});

Deno.test("NewFile.create() refuses what is there, a symbolic link too", async () => {
  await inDirectory(async (directory) => {
    const link = join(directory, "link");
    await Deno.symlink(join(directory, "target"), link);
    assert.throws(() => NewFile.create(link), { name: "StorageError", code: "EEXIST" });
    assert.deepEqual(names(directory), ["link"]);
  });
});

Deno.test("NewFile.publish() before the sync is refused", async () => {
  await inDirectory(async (directory) => {
    const file = NewFile.create(join(directory, "a"));
    await assert.rejects(file.publish(join(directory, "b")), TypeError);
    await file.discard();
  });
});

for (
  const { call, code, fault } of [
    { call: "open", code: "EMFILE", fault: "descriptors" },
    { call: "open", code: "EACCES", fault: "denied" },
    { call: "write", code: "ENOSPC", fault: "no-space" },
    { call: "write", code: "EDQUOT", fault: "over-quota" },
    { call: "sync", code: "EIO", fault: "io" },
    { call: "sync", code: "ENOSPC", fault: "no-space" },
    { call: "rename", code: "ENOSPC", fault: "no-space" },
    { call: "rename", code: "EBUSY", fault: "other" },
  ]
) {
  Deno.test(`NewFile drops the file after ${code} at ${call}, and does not try again`, async () => {
    await inDirectory(async (directory) => {
      const fileSystem = new FaultyFileSystem();
      fileSystem.fault = (name) => name === call ? code : undefined;
      const write = async () => {
        const file = NewFile.create(join(directory, "a"), { fileSystem });
        await file.write(new Uint8Array(5));
        await file.finish();
        await file.publish(join(directory, "b"));
      };
      await assert.rejects(
        write(),
        (error) => error instanceof StorageError && error.fault === fault && error.code === code,
      );
      assert.deepEqual(names(directory), []);
      assert.equal(fileSystem.calls.filter((noted) => noted.startsWith(call)).length, 1);
    });
  });
}

Deno.test("NewFile.reuse() leaves nothing of what the file held, and syncs it with its length", async () => {
  await inDirectory(async (directory) => {
    const fileSystem = new FaultyFileSystem();
    const path = join(directory, "spare");
    for (const before of ["a longer text than comes", "x", ""]) {
      await Deno.writeTextFile(path, before);
      fileSystem.calls.length = 0;
      const file = NewFile.reuse(path, { fileSystem });
      await file.write(new TextEncoder().encode("new text"));
      await file.finish();
      assert.equal(await Deno.readTextFile(path), "new text");
      assert.deepEqual(fileSystem.calls.map((call) => call.split(" ")[0]), [
        "open",
        "write",
        "truncate",
        "sync",
        "close",
      ]);
    }
    assert.throws(() => NewFile.reuse(join(directory, "none"), { fileSystem }), {
      name: "StorageError",
      code: "ENOENT",
    });
    fileSystem.fault = (call) => call === "truncate" ? "EIO" : undefined;
    const file = NewFile.reuse(path, { fileSystem });
    await assert.rejects(file.finish(), { name: "StorageError", code: "EIO" });
    assert.deepEqual(names(directory), []);
  });
});
