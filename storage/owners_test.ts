import assert from "node:assert/strict";
import { join } from "@std/path";
import { testWith } from "../tests/support/requires.ts";
import { findForeign } from "./owners.ts";

// Only root gives files away.
const AS_ROOT = Deno.uid() === 0 ? [] : ["root"];

testWith(AS_ROOT, "findForeign() finds what belongs to other accounts, at any depth", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const shard = join(directory, "messages", "0a");
    await Deno.mkdir(shard, { recursive: true });
    const [message, other] = [join(shard, "one"), join(shard, "two")];
    for (const path of [message, other]) await Deno.writeTextFile(path, "");
    await Deno.symlink(message, join(directory, "link"));
    for (const path of [directory, join(directory, "messages"), shard, message, other]) {
      await Deno.chown(path, 999, 998);
    }
    assert.equal(findForeign(directory, 999), undefined);
    await Deno.chown(other, 0, 0);
    assert.deepEqual(findForeign(directory, 999), { count: 1, example: { path: other, uid: 0 } });
    await Deno.chown(shard, 1000, 0);
    assert.equal(findForeign(directory, 999)?.count, 2);
    assert.equal(findForeign(join(directory, "nothing"), 999), undefined);
    await Deno.chown(directory, 0, 0);
    assert.equal(findForeign(directory, 999)?.example.path, directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
