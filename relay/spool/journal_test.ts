import assert from "node:assert/strict";
import { join } from "@std/path";
import { silentLogger } from "../../base/log.ts";
import { DirectorySyncer } from "../../storage/directory_syncer.ts";
import { denoFileSystem } from "../../storage/file_system.ts";
import { Journal, type JournalOptions } from "./journal.ts";
import type { JournalRecord } from "./format.ts";

async function inDirectory(
  work: (
    parts: { path: string; open: (options?: Partial<JournalOptions>) => Promise<Journal> },
  ) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir();
  const path = join(directory, "journal");
  try {
    await work({
      path,
      open: (options) =>
        Journal.open({
          path,
          temporary: join(directory, "journal.new"),
          fileSystem: denoFileSystem,
          syncer: new DirectorySyncer(),
          logger: silentLogger,
          exists: () => true,
          makeDurable: () => Promise.resolve(),
          keepDamaged: (reason) => assert.fail(reason),
          ...options,
        }),
    });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const id = (n: number) => `0abcdefg${String(n).padStart(4, "0")}`;
const sent = (n: number): JournalRecord => ({
  type: "dotSent",
  id: id(n),
  recipients: [0, 1],
  host: "mx.test",
  address: "192.0.2.1",
  at: n,
});
const answered = (n: number, relayed: boolean): JournalRecord => ({
  type: "dotAnswered",
  id: id(n),
  recipients: [0],
  relayed,
});

Deno.test("Journal gives a later process what it was told", async () => {
  await inDirectory(async ({ open }) => {
    const journal = await open();
    await Promise.all(
      [sent(1), answered(1, true), sent(2), answered(2, false), sent(3)].map((r) => journal.append(r)),
    );
    await journal.append({ type: "removed", id: id(3) });
    await journal.close();
    const later = await open();
    const one = later.get(id(1));
    assert.deepEqual([...one?.relayed.keys() ?? []], [0]);
    assert.equal(one?.relayed.get(0)?.host, "mx.test");
    assert.deepEqual([...one?.sent ?? []], [[1, {
      host: "mx.test",
      address: "192.0.2.1",
      at: 1,
      inherited: true,
    }]]);
    assert.deepEqual([...later.get(id(2))?.sent.keys() ?? []], [1]);
    assert.equal(later.get(id(3))?.removed, true);
    await later.close();
  });
});

Deno.test("Journal forgets what the files of an entry know, and entries that are gone", async () => {
  await inDirectory(async ({ path, open }) => {
    const journal = await open();
    await Promise.all([sent(1), answered(1, true), sent(2), sent(3)].map((record) => journal.append(record)));
    journal.forgetRecipient(id(1), 0, "relayed");
    journal.forgetRecipient(id(1), 1, "sent");
    journal.forget(id(2));
    assert.equal(journal.liveCount, 1);
    await journal.close();
    const later = await open({ exists: (entry) => entry === id(3) });
    assert.equal(later.liveCount, 1);
    await later.close();
    assert.equal(Deno.readTextFileSync(path).split("\n").length, 3);
  });
});

Deno.test("Journal drops what is known of an entry that is gone only when that is durable", async () => {
  await inDirectory(async ({ path, open }) => {
    const journal = await open();
    for (const n of [1, 2]) await journal.append({ type: "removed", id: id(n) });
    await journal.close();
    const before = Deno.readTextFileSync(path);
    const makeDurable = (ids: readonly string[]) => {
      assert.deepEqual(ids, [id(1)]);
      assert.equal(Deno.readTextFileSync(path), before);
      return Promise.reject(new Error("the disk"));
    };
    await assert.rejects(open({ exists: (entry) => entry === id(2), makeDurable }), /the disk/);
    assert.equal(Deno.readTextFileSync(path), before);
  });
});

Deno.test("Journal stays small however much goes through it, and loses nothing live", async () => {
  await inDirectory(async ({ path, open }) => {
    const journal = await open({ rotateAt: 4096 });
    await journal.append(sent(0));
    let largest = 0;
    for (let n = 1; n <= 300; n++) {
      await Promise.all([journal.append(sent(n)), journal.append(answered(n, true))]);
      journal.forgetRecipient(id(n), 0, "relayed");
      journal.forgetRecipient(id(n), 1, "sent");
      largest = Math.max(largest, Deno.statSync(path).size);
    }
    assert.ok(largest < 8192, `${largest} octets`);
    await journal.close();
    const later = await open();
    assert.deepEqual([...later.get(id(0))?.sent.keys() ?? []], [0, 1]);
    await later.close();
  });
});
