import assert from "node:assert/strict";
import { join } from "@std/path";
import { checkRights } from "./rights.ts";

Deno.test("checkRights() says what other accounts can read or change, and what it may not see", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const key = join(directory, "key.pem");
    await Deno.writeTextFile(key, "");
    await Deno.chmod(key, 0o600);
    const guarded = [
      { what: "the key", path: key, others: 0 },
      { what: "one that is not there", path: join(directory, "none.pem"), others: 0 },
    ];
    const look = () => checkRights({ guarded, dataDir: directory });
    const [well, ...others] = await look();
    assert.deepEqual([well?.outcome, well?.id, others], ["ok", "rights", []]);
    assert.equal(
      well?.what,
      "other accounts cannot read keys and passwords, and cannot change the configuration or the directories",
    );
    await Deno.chmod(key, 0o644);
    const [found, ...more] = await look();
    assert.deepEqual(more, []);
    assert.deepEqual([found?.outcome, found?.id, found?.subject], ["warning", "rights.wide", key]);
    assert.equal(found?.what, "the key: every account can read it");
    assert.equal(found?.next, `chmod o= ${key}`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
