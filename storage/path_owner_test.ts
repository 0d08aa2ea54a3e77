import assert from "node:assert/strict";
import { join } from "@std/path";
import { OpenPathError, ownerOnPath } from "./path_owner.ts";

const asRoot = { ignore: Deno.uid() !== 0 };

Deno.test("ownerOnPath() is the first other account that has a part of the path", asRoot, async () => {
  const root = await Deno.makeTempDir();
  try {
    await Deno.mkdir(join(root, "data", "inner"), { recursive: true });
    assert.equal(await ownerOnPath(join(root, "data", "inner", "file")), undefined);
    await Deno.chown(join(root, "data"), 4711, 4712);
    assert.deepEqual(await ownerOnPath(join(root, "data", "inner", "file")), { uid: 4711, gid: 4712 });
    // A link of root's into what another account has.
    await Deno.symlink("data/inner", join(root, "link"));
    assert.deepEqual(await ownerOnPath(join(root, "link", "file")), { uid: 4711, gid: 4712 });
    await Deno.symlink(join(root, "data"), join(root, "absolute"));
    assert.deepEqual(await ownerOnPath(join(root, "absolute")), { uid: 4711, gid: 4712 });
    assert.equal(await ownerOnPath(join(root, "missing", "file")), undefined);
    await Deno.symlink("loop", join(root, "loop"));
    await assert.rejects(ownerOnPath(join(root, "loop", "x")), /too many symbolic links/);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test(
  "ownerOnPath() refuses a directory of root's that others may write to, but for sticky ones",
  asRoot,
  async () => {
    const root = await Deno.makeTempDir();
    try {
      const open = join(root, "open");
      await Deno.mkdir(open);
      await Deno.chown(open, 0, 4712);
      for (const mode of [0o777, 0o775, 0o702]) {
        await Deno.chmod(open, mode);
        await assert.rejects(ownerOnPath(join(open, "file")), OpenPathError);
      }
      await Deno.chmod(open, 0o1777);
      assert.equal(await ownerOnPath(join(open, "file")), undefined);
    } finally {
      await Deno.remove(root, { recursive: true });
    }
  },
);
