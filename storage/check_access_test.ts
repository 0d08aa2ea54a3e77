import assert from "node:assert/strict";
import { constants } from "node:fs";
import { checkAccess, mayAccess } from "./check_access.ts";

Deno.test("checkAccess() lets the owner, refuses what is missing or closed, and lets root all the same", async () => {
  const directory = await Deno.makeTempDir();
  const file = `${directory}/x`;
  try {
    await Deno.writeTextFile(file, "");
    await checkAccess(file, constants.R_OK | constants.W_OK);
    await assert.rejects(checkAccess(`${directory}/missing`, constants.R_OK), /ENOENT|os error 2/);
    await Deno.chmod(file, 0o400);
    const asked = checkAccess(file, constants.W_OK);
    if (Deno.uid() !== 0) return await assert.rejects(asked, { code: "EACCES" });
    await asked;
    await Deno.chown(file, 65534, 65534);
    await checkAccess(file, constants.R_OK | constants.W_OK);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("mayAccess() goes by the owner's bits, else the group's, else everybody's", () => {
  const account = { uid: 1001, groups: [1001, 8] };
  const may = (uid: number, gid: number, mode: number) =>
    [constants.R_OK, constants.W_OK].map((wanted) =>
      mayAccess(account, { info: { uid, gid, mode }, mode: wanted })
    );
  assert.deepEqual(may(1001, 0, 0o600), [true, true]);
  assert.deepEqual(may(1001, 8, 0o077), [false, false], "its owner's bits count, though others have more");
  assert.deepEqual(may(0, 8, 0o2775), [true, true], "a supplementary group");
  assert.deepEqual(may(0, 8, 0o640), [true, false]);
  assert.deepEqual(may(0, 0, 0o775), [true, false]);
  assert.deepEqual(may(0, 0, 0o640), [false, false]);
});
