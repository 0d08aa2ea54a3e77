import assert from "node:assert/strict";
import { constants } from "node:fs";
import { checkAccess } from "./check_access.ts";

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
