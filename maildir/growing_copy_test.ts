import assert from "node:assert/strict";
import { join } from "@std/path";
import { settle } from "../tests/support/fake_clock.ts";
import { FaultyFileSystem } from "../tests/support/faulty_file_system.ts";
import { GrowingCopy } from "./growing_copy.ts";
import { Maildir } from "./maildir.ts";
import { UniqueNames } from "./unique_name.ts";

Deno.test("GrowingCopy.finish() syncs after the last write, which may take its time", async () => {
  const root = await Deno.realPath(await Deno.makeTempDir({ prefix: "mailapp-growing-" }));
  try {
    const fileSystem = new FaultyFileSystem();
    const names = new UniqueNames({ hostname: "mx", now: () => 0 });
    const maildir = new Maildir(join(root, "example.com", "alice"), { root, names, fileSystem });
    const copy = new GrowingCopy(await maildir.create());
    const data = new Uint8Array(700_000).map((_, i) => i % 251);
    await copy.write(data);
    const slow = Promise.withResolvers<void>();
    let writing = 0;
    fileSystem.before = (call) => {
      if (call === "sync") assert.equal(writing, 0, "the sync began before the write had ended");
      return call === "write" ? (writing++, slow.promise.then(() => void writing--)) : undefined;
    };
    const finished = copy.finish();
    await settle();
    slow.resolve();
    await finished;
    assert.deepEqual(await Deno.readFile(copy.message.path), data);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
