import assert from "node:assert/strict";
import { join } from "@std/path";
import { silentLogger } from "../../base/log.ts";
import { DirectorySyncer } from "../../storage/directory_syncer.ts";
import { denoFileSystem } from "../../storage/file_system.ts";
import { FaultyFileSystem } from "../../tests/support/faulty_file_system.ts";
import { Journal, type JournalOptions } from "./journal.ts";
import type { JournalRecord } from "../stored/format.ts";

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
          makeRoom: () => Promise.resolve(false),
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

/** A disk on which files neither grow nor are made while it is full; what is given up makes room. */
function fullDisk(): {
  fileSystem: FaultyFileSystem;
  makeRoom: () => Promise<boolean>;
  state: { full: boolean; left: number };
} {
  const state = { full: false, left: 0 };
  const fileSystem = new FaultyFileSystem();
  fileSystem.fault = (call) => state.full && (call === "write" || call === "open") ? "ENOSPC" : undefined;
  const makeRoom = () => {
    if (state.left === 0) return Promise.resolve(false);
    state.left--;
    state.full = false;
    return Promise.resolve(true);
  };
  return { fileSystem, makeRoom, state };
}

Deno.test("Journal on a full disk has room made for a record, and keeps what it has where there is none", async () => {
  await inDirectory(async ({ path, open }) => {
    const { fileSystem, makeRoom, state } = fullDisk();
    fileSystem.longestWrite = 20;
    {
      const journal = await open({ fileSystem, makeRoom });
      await journal.append(sent(1));
      state.full = true;
      await assert.rejects(journal.append(sent(2)), /ENOSPC/);
      state.left = 1;
      await journal.append(sent(3));
      // Within a record.
      let writes = 0;
      fileSystem.fault = (call) => call === "write" && ++writes === 3 ? "ENOSPC" : undefined;
      await assert.rejects(journal.append(sent(4)), /ENOSPC/);
      await journal.append(sent(5));
      await journal.close();
    }
    const lines = Deno.readTextFileSync(path).trimEnd().split("\n");
    assert.deepEqual(lines.map((line) => JSON.parse(line).dotSent), [id(1), id(3), id(5)]);
    assert.equal(fileSystem.calls.filter((call) => call.startsWith("rename ")).length, 1);
  });
});

Deno.test("Journal that cannot be begun anew goes on with the file that it has", async () => {
  await inDirectory(async ({ path, open }) => {
    const { fileSystem, makeRoom, state } = fullDisk();
    const journal = await open({ fileSystem, makeRoom, rotateAt: 2000 });
    fileSystem.fault = (call, which) => call === "open" && which.endsWith(".new") ? "ENOSPC" : undefined;
    for (let n = 0; n < 100; n++) await journal.append(sent(n));
    await journal.close();
    assert.equal(state.left, 0);
    const again = await open();
    assert.equal(again.liveCount, 100);
    assert.ok(Deno.statSync(path).size > 2000);
    await again.close();
  });
});

Deno.test("Journal opened on a full disk goes on after the last whole line of the old one", async () => {
  await inDirectory(async ({ path, open }) => {
    const { fileSystem, makeRoom } = fullDisk();
    {
      const journal = await open();
      for (const n of [1, 2]) await journal.append(sent(n));
      await journal.close();
    }
    Deno.writeTextFileSync(path, '{"dotSent":"0abcd', { append: true });
    fileSystem.fault = (call, which) => call === "open" && which.endsWith(".new") ? "ENOSPC" : undefined;
    {
      const journal = await open({ fileSystem, makeRoom });
      assert.equal(journal.liveCount, 2);
      await journal.append(sent(3));
      await journal.append(answered(1, false));
      await journal.close();
    }
    const journal = await open();
    assert.deepEqual([1, 2, 3].map((n) => [...journal.get(id(n))?.sent.keys() ?? []]), [[1], [0, 1], [0, 1]]);
    await journal.close();
  });
});

Deno.test("Journal whose new file lost its name to the disk does not go on with the old one", async () => {
  await inDirectory(async ({ open }) => {
    const fileSystem = new FaultyFileSystem();
    let failing = false;
    const syncer = new DirectorySyncer({
      fileSystem: {
        ...denoFileSystem,
        openSync: (path, options) => {
          if (failing) throw Object.assign(new Error("EIO"), { code: "EIO" });
          return denoFileSystem.openSync(path, options);
        },
      },
    });
    const journal = await open({ fileSystem, syncer, rotateAt: 1 });
    await journal.append(sent(1));
    failing = true;
    await assert.rejects(journal.append(sent(2)), /EIO/);
    failing = false;
    await journal.append(sent(3));
    await journal.close();
    const again = await open();
    assert.deepEqual([1, 2, 3].map((n) => again.get(id(n)) !== undefined), [true, false, true]);
    await again.close();
  });
});
