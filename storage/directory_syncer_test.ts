import assert from "node:assert/strict";
import { FaultyFileSystem } from "../tests/support/faulty_file_system.ts";
import { DirectorySyncer } from "./directory_syncer.ts";
import { StorageError } from "./storage_error.ts";
import { until } from "../tests/support/until.ts";

/** A file system whose syncs wait until the test lets the oldest one go. */
async function inDirectory(
  run: (setting: {
    directory: string;
    fileSystem: FaultyFileSystem;
    syncer: DirectorySyncer;
    syncs: () => number;
    release: () => void;
  }) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "mailapp-sync-" });
  const fileSystem = new FaultyFileSystem();
  const waiting: (() => void)[] = [];
  fileSystem.before = (call) => {
    if (call !== "sync") return;
    return new Promise<void>((resolve) => waiting.push(resolve));
  };
  try {
    await run({
      directory,
      fileSystem,
      syncer: new DirectorySyncer({ fileSystem }),
      syncs: () => fileSystem.calls.filter((call) => call.startsWith("sync")).length,
      release: () => waiting.shift()?.(),
    });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("DirectorySyncer.sync() shares the next sync, never the running one", async () => {
  await inDirectory(async ({ directory, fileSystem, syncer, syncs, release }) => {
    const first = syncer.sync(directory);
    const late = [syncer.sync(directory), syncer.sync(directory), syncer.sync(directory)];
    assert.equal(new Set([first, ...late]).size, 2);
    let lateDone = false;
    Promise.all(late).then(() => lateDone = true);
    release();
    await first;
    assert.equal(syncs(), 1);
    assert.equal(lateDone, false);
    // The second sync has to get as far as waiting before it can be let go.
    await until(
      () => fileSystem.calls.filter((call) => call.startsWith("open")).length >= 2,
      "the second sync",
      () => Promise.resolve(),
    );
    release();
    await Promise.all(late);
    assert.equal(syncs(), 2);
  });
});

Deno.test("DirectorySyncer.sync() begins anew when nothing runs", async () => {
  await inDirectory(async ({ directory, fileSystem, syncer, syncs }) => {
    fileSystem.before = () => {};
    await syncer.sync(directory);
    await syncer.sync(directory);
    assert.equal(syncs(), 2);
  });
});

Deno.test("DirectorySyncer.sync() fails for all who shared it, and for no one else", async () => {
  await inDirectory(async ({ directory, fileSystem, syncer, syncs, release }) => {
    fileSystem.fault = (call) => call === "sync" && syncs() === 1 ? "EIO" : undefined;
    const first = syncer.sync(directory);
    const second = syncer.sync(directory);
    release();
    await assert.rejects(first, (error) => error instanceof StorageError && error.fault === "io");
    await until(
      () => fileSystem.calls.filter((call) => call.startsWith("open")).length >= 2,
      "the second sync",
      () => Promise.resolve(),
    );
    release();
    await second;
    assert.equal(syncs(), 2);
  });
});

Deno.test("DirectorySyncer.sync() of a directory that is not there fails", async () => {
  const syncer = new DirectorySyncer();
  await assert.rejects(syncer.sync("/nowhere/at/all"), { name: "StorageError", code: "ENOENT" });
});
