import assert from "node:assert/strict";
import { join } from "@std/path";
import { makeMaildrop } from "../../relay/maildrop/directory.ts";
import { checkMaildrop } from "./maildrop.ts";

Deno.test("checkMaildrop() wants the directory, its mode, and a way to it", async () => {
  const dataDir = await Deno.makeTempDir();
  const maildrop = join(dataDir, "maildrop");
  const check = async () => (await checkMaildrop({ maildrop })).map(({ id, outcome }) => `${id} ${outcome}`);
  try {
    await Deno.chmod(dataDir, 0o751);
    assert.deepEqual(await check(), ["maildrop.unusable warning"]);
    await makeMaildrop(maildrop);
    assert.deepEqual(await check(), ["maildrop ok"]);
    await Deno.chmod(maildrop, 0o1777);
    assert.deepEqual(await check(), ["maildrop.unusable warning"]);
    await makeMaildrop(maildrop);
    await Deno.chmod(dataDir, 0o750);
    assert.deepEqual(await check(), ["maildrop.unusable warning"]);
  } finally {
    await Deno.remove(dataDir, { recursive: true });
  }
});
