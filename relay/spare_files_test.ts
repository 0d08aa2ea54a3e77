import assert from "node:assert/strict";
import { join } from "@std/path";
import { denoFileSystem } from "../storage/file_system.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { SpareFiles } from "./spare_files.ts";

async function inDirectory(
  run: (
    parts: { clock: FakeClock; spares: SpareFiles; make: () => string; kept: () => number },
  ) => Promise<void>,
): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "mailapp-spare-" });
  try {
    const directory = join(root, "spare");
    await Deno.mkdir(directory);
    const clock = new FakeClock();
    let made = 0;
    await run({
      clock,
      spares: new SpareFiles({ directory, fileSystem: denoFileSystem, clock }),
      make: () => {
        const path = join(root, `message${made++}`);
        Deno.writeTextFileSync(path, "old text");
        return path;
      },
      kept: () => [...Deno.readDirSync(directory)].length,
    });
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

Deno.test("A retired file is written again, but not before it is released", async () => {
  await inDirectory(async ({ spares, make, kept }) => {
    assert.equal(await spares.take(), undefined);
    const spare = await spares.retire(make(), "one");
    assert.ok(spare !== undefined && kept() === 1);
    assert.equal(await spares.take(), undefined);
    spares.release(spare);
    const file = await spares.take();
    assert.equal(file?.path, spare);
    await file.write(new TextEncoder().encode("new"));
    await file.finish();
    assert.equal(Deno.readTextFileSync(spare), "new");
    assert.equal(await spares.take(), undefined);
    await file.discard();
    await spares.close();
  });
});

Deno.test("A file that is gone is not retired, and one that cannot be opened is not taken", async () => {
  await inDirectory(async ({ spares, make, kept }) => {
    const path = make();
    Deno.removeSync(path);
    assert.equal(await spares.retire(path, "one"), undefined);
    const spare = await spares.retire(make(), "two");
    assert.ok(spare !== undefined);
    spares.release(spare);
    Deno.removeSync(spare);
    assert.equal(await spares.take(), undefined);
    assert.equal(kept(), 0);
    await spares.close();
  });
});

Deno.test("Only small messages' files are kept, and only 64 of them, on their way included", async () => {
  await inDirectory(async ({ spares, make, kept }) => {
    assert.equal(spares.wants(64 * 1024), true);
    assert.equal(spares.wants(64 * 1024 + 1), false);
    const retired: string[] = [];
    while (spares.wants(1)) retired.push(await spares.retire(make(), `${retired.length}`) ?? "");
    assert.equal(kept(), 64);
    for (const spare of retired) spares.release(spare);
    assert.equal(spares.wants(1), false);
    const file = await spares.take();
    assert.equal(spares.wants(1), true);
    await file?.discard();
    await spares.close();
    assert.equal(kept(), 0);
  });
});

Deno.test("Spare files are gone when nobody has wanted them for a minute, and at the end", async () => {
  await inDirectory(async ({ clock, spares, make, kept }) => {
    const retire = async (name: string) => await spares.retire(make(), name) ?? "";
    spares.release(await retire("one"));
    await clock.advance(59_000);
    spares.release(await retire("two"));
    await clock.advance(59_000);
    assert.equal(kept(), 2);
    await clock.advance(1_000);
    while (kept() > 0) await new Promise((resolve) => setTimeout(resolve, 1));
    const late = await retire("three");
    spares.release(await retire("four"));
    await spares.close();
    assert.equal(kept(), 1);
    assert.equal(spares.wants(1), false);
    spares.release(late);
    while (kept() > 0) await new Promise((resolve) => setTimeout(resolve, 1));
    assert.equal(clock.pending, 0);
  });
});
