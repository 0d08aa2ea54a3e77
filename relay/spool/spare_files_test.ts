import assert from "node:assert/strict";
import { join } from "@std/path";
import { FakeClock } from "../../tests/support/fake_clock.ts";
import { FaultyFileSystem } from "../../tests/support/faulty_file_system.ts";
import { until } from "../../tests/support/until.ts";
import { SpareFiles } from "./spare_files.ts";

interface Parts {
  readonly clock: FakeClock;
  readonly fileSystem: FaultyFileSystem;
  readonly spares: SpareFiles;
  /** Makes the file of a message. */
  readonly make: (text?: string) => string;
  /** How many there are. */
  readonly kept: () => number;
}

async function inDirectory(run: (parts: Parts) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "mailapp-spare-" });
  try {
    const directory = join(root, "spare");
    await Deno.mkdir(directory);
    const clock = new FakeClock();
    const fileSystem = new FaultyFileSystem();
    let made = 0;
    await run({
      clock,
      fileSystem,
      spares: new SpareFiles({ directory, fileSystem, clock }),
      make: (text = "old text") => {
        const path = join(root, `message${made++}`);
        Deno.writeTextFileSync(path, text);
        return path;
      },
      kept: () => [...Deno.readDirSync(directory)].length,
    });
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

/** As many as are taken. */
async function retireAll({ spares, make }: Pick<Parts, "spares" | "make">): Promise<string[]> {
  const retired: string[] = [];
  for (;;) {
    const spare = await spares.retire(make(), `${retired.length}`);
    if (spare === undefined) return retired;
    retired.push(spare);
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

Deno.test("A file that is gone is not retired, and one that cannot be opened is removed", async () => {
  await inDirectory(async ({ fileSystem, spares, make, kept }) => {
    const path = make();
    Deno.removeSync(path);
    assert.equal(await spares.retire(path, "one"), undefined);
    for (let round = 0; round < 3; round++) {
      const retired = await retireAll({ spares, make });
      assert.equal(retired.length, 256);
      for (const spare of retired) spares.release(spare);
      fileSystem.fault = (call) => call === "open" ? "EMFILE" : undefined;
      for (let n = 0; n < 256; n++) assert.equal(await spares.take(), undefined);
      fileSystem.fault = () => undefined;
      assert.equal(kept(), 0);
    }
    await spares.close();
  });
});

Deno.test("Only small files are retired, and 256 of them, on their way included", async () => {
  await inDirectory(async ({ spares, make, kept }) => {
    const large = make("x".repeat(256 * 1024 + 1));
    assert.equal(await spares.retire(large, "large"), undefined);
    assert.equal(kept(), 0);
    const largest = await spares.retire(make("x".repeat(256 * 1024)), "largest");
    assert.equal(kept(), 1);
    await spares.drop(largest ?? "");
    const retired = await retireAll({ spares, make });
    assert.equal(kept(), 256);
    for (const spare of retired) spares.release(spare);
    const left = make();
    assert.equal(await spares.retire(left, "left"), undefined);
    assert.ok(Deno.statSync(left).isFile);
    const file = await spares.take();
    assert.equal(file?.path, retired[0], "the oldest first");
    await file?.discard();
    await spares.drop(await spares.retire(left, "left") ?? "");
    assert.equal(kept(), 255);
    assert.ok(await spares.retire(make(), "again"));
    await spares.close();
  });
});

Deno.test("A file with another name is not retired, even if it gets that at the last moment", async () => {
  await inDirectory(async ({ fileSystem, spares, make, kept }) => {
    const path = make();
    Deno.linkSync(path, `${path}-copy`);
    assert.equal(await spares.retire(path, "one"), undefined);
    assert.equal(Deno.readTextFileSync(`${path}-copy`), "old text");
    const late = make();
    fileSystem.before = (call) => call === "rename" ? Deno.linkSync(late, `${late}-copy`) : undefined;
    assert.equal(await spares.retire(late, "two"), undefined);
    assert.equal(kept(), 0);
    assert.equal(Deno.readTextFileSync(`${late}-copy`), "old text");
  });
});

Deno.test("Spare files are removed when none was taken for a minute, and at the end", async () => {
  await inDirectory(async ({ clock, spares, make, kept }) => {
    const retire = async (name: string) => await spares.retire(make(), name) ?? "";
    spares.release(await retire("one"));
    await clock.advance(59_000);
    spares.release(await retire("two"));
    await clock.advance(59_000);
    assert.equal(kept(), 2);
    await clock.advance(1_000);
    await until(() => kept() === 0, "an empty directory");
    const late = await retire("three");
    spares.release(await retire("four"));
    await spares.close();
    assert.equal(kept(), 1);
    assert.equal(await spares.retire(make(), "five"), undefined);
    spares.release(late);
    await until(() => kept() === 0, "an empty directory");
    assert.equal(clock.pending, 0);
  });
});
