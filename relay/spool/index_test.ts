import assert from "node:assert/strict";
import { join } from "@std/path";
import { silentLogger } from "../../base/log.ts";
import type { FileSystem } from "../../storage/file_system.ts";
import { FakeClock } from "../../tests/support/fake_clock.ts";
import { newEntry, recipient } from "../../tests/support/queue_entry.ts";
import { unsyncedFileSystem } from "../../tests/support/unsynced_file_system.ts";
import type { QueueSummary } from "../queue.ts";
import type { QueueRecipient } from "../queue_entry.ts";
import { Spool } from "./spool.ts";
import { mayMean, SpoolIndex } from "./index.ts";

const MESSAGE = new TextEncoder().encode("A: b\r\n\r\nHello\r\n");

async function add(
  spool: Spool,
  recipients: QueueRecipient[],
  reversePath = "a@sender.test",
): Promise<string> {
  const id = spool.newId();
  await spool.add(
    newEntry(recipients, { id, acceptedAt: 1000, reversePath, size: MESSAGE.length }),
    MESSAGE,
  );
  return id;
}

/** Under a clock that stands still, so that ages are the same in each scan. */
function openSpool(directory: string, fileSystem?: FileSystem): Promise<Spool> {
  return Spool.open({
    directory,
    logger: silentLogger,
    clock: new FakeClock(),
    uptime: () => undefined,
    ...(fileSystem && { fileSystem }),
  });
}

async function scan(directory: string): Promise<Map<string, QueueSummary>> {
  await using spool = await openSpool(directory);
  return new Map((await Array.fromAsync(spool.scan())).map((summary) => [summary.id, summary]));
}

/** A spool with entries of every kind, closed. */
async function populate(directory: string): Promise<string[]> {
  await using spool = await openSpool(directory);
  const ids = [
    await add(spool, [recipient("b@one.test"), recipient("c@two.test", { nextAttemptAt: 7 })]),
    await add(spool, [recipient("b@one.test", { status: "held" }), recipient("c@two.test")]),
    await add(spool, [recipient("b@one.test", { status: "failed" })]),
    await add(spool, [recipient("b@one.test", { notice: "0notice0001" })], ""),
    await add(spool, Array.from({ length: 150 }, (_, n) => recipient(`b@d${n}.test`))),
    await add(spool, [recipient("b@three.test")], "Other@sender.test"),
    await add(spool, [recipient("b@one.test", { status: "held", settled: true })], ""),
    await add(spool, [recipient("b@one.test", { status: "held" })], ""),
  ];
  for (const id of ids.slice(0, 2)) {
    const entry = await spool.load(id);
    assert.ok(entry?.recipients[1]);
    entry.recipients[1].nextAttemptAt = 99;
    await spool.update(entry);
  }
  await spool.dotAnswered(ids[0] ?? "", { recipients: [0], relayed: true });
  return ids;
}

async function inDirectory(work: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await work(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("A scan says the same with the index, without it, and with a spoilt one", async () => {
  await inDirectory(async (directory) => {
    const [first = ""] = await populate(directory);
    const indexed = await scan(directory);
    assert.equal(indexed.size, 7);
    assert.deepEqual([...indexed.values()].filter((summary) => summary.undeliverable).map(({ due }) => due), [
      [],
    ]);
    assert.deepEqual(indexed.get(first)?.due, [{ domain: "two.test", at: 99 }]);
    const [shard] = [...Deno.readDirSync(join(directory, "index"))];
    assert.ok(shard);
    const path = join(directory, "index", shard.name);
    const text = Deno.readTextFileSync(path);
    for (const spoilt of [text.replaceAll("99", "98"), text.slice(0, -20), "rubbish\n\0\n{}\n", ""]) {
      Deno.writeTextFileSync(path, spoilt);
      assert.deepEqual(await scan(directory), indexed);
    }
    await Deno.remove(join(directory, "index"), { recursive: true });
    assert.deepEqual(await scan(directory), indexed);
    assert.deepEqual(await scan(directory), indexed);
  });
});

Deno.test("A scan with the index opens no file of an entry", async () => {
  await inDirectory(async (directory) => {
    const ids = await populate(directory);
    for (const id of ids.slice(2, 4)) {
      const path = join(directory, "messages", id.slice(-2), id);
      const { mtime } = Deno.statSync(path);
      // As long, and changed at the same moment: only its bytes tell, and they are not read.
      const text = Deno.readTextFileSync(path);
      Deno.writeTextFileSync(path, "x".repeat(text.length));
      assert.ok(mtime);
      Deno.utimeSync(path, mtime, mtime);
    }
    assert.equal((await scan(directory)).size, 7);
    assert.deepEqual([...Deno.readDirSync(join(directory, "damaged"))], []);
  });
});

Deno.test("A scan sees files that were changed by hand", async () => {
  await inDirectory(async (directory) => {
    const ids = await populate(directory);
    const [first = "", , third = ""] = ids;
    const state = join(directory, "states", first.slice(-2), `${first}.json`);
    Deno.writeTextFileSync(
      state,
      Deno.readTextFileSync(state).replace('"nextAttemptAt": 99', '"nextAttemptAt": 55').replace(
        /,\n {2}"check.*/,
        "",
      ),
    );
    Deno.truncateSync(join(directory, "messages", third.slice(-2), third), 40);
    const found = await scan(directory);
    assert.deepEqual(found.get(first)?.due, [{ domain: "two.test", at: 55 }]);
    assert.equal(found.has(third), false);
    Deno.removeSync(state);
    assert.deepEqual((await scan(directory)).get(first)?.due, [{ domain: "two.test", at: 7 }]);
  });
});

Deno.test("ids() leaves out what cannot be meant", async () => {
  await inDirectory(async (directory) => {
    const ids = await populate(directory);
    await using spool = await openSpool(directory);
    const found = async (hint: { domain?: string; sender?: string }) =>
      (await Array.fromAsync(spool.ids(hint))).map((id) => ids.indexOf(id)).sort();
    const check = async () => {
      assert.deepEqual(await found({}), [0, 1, 2, 3, 4, 5, 6, 7]);
      // The fifth has too many domains for its own line: it may be meant for all that is known at once.
      assert.deepEqual(await found({ domain: "three.test" }), [4, 5]);
      assert.deepEqual(await found({ domain: "two.test" }), [0, 1, 4]);
      assert.deepEqual(await found({ sender: "other@sender.test" }), [4, 5]);
      assert.deepEqual(await found({ sender: "" }), [3, 4, 6, 7]);
    };
    await check();
    await Array.fromAsync(spool.scan());
    await check();
  });
});

Deno.test("ids() knows what waits in memory for its first attempt, and leaves it there", async () => {
  await inDirectory(async (directory) => {
    await using spool = await openSpool(directory);
    const ids: string[] = [];
    for (const [domain, reversePath] of [["one.test", "A@sender.test"], ["two.test", ""]] as const) {
      const id = spool.newId();
      await spool.add(newEntry([`b@${domain}`], { id, reversePath }), new Uint8Array(10));
      ids.push(id);
    }
    const found = (hint: { domain?: string; sender?: string }) => Array.fromAsync(spool.ids(hint));
    assert.deepEqual(await found({ domain: "two.test" }), [ids[1]]);
    assert.deepEqual(await found({ sender: "a@SENDER.test" }), [ids[0]]);
    assert.deepEqual(await found({ sender: "", domain: "one.test" }), []);
    await spool.close();
    const [shard] = [...Deno.readDirSync(join(directory, "index"))];
    assert.equal(Deno.readTextFileSync(join(directory, "index", shard?.name ?? "")).split("\n").length, 3);
  });
});

Deno.test("ids() sees a message that was changed by hand before the server had it", async () => {
  await inDirectory(async (directory) => {
    const [, , , , , last = ""] = await populate(directory);
    const path = join(directory, "messages", last.slice(-2), last);
    const edited = Deno.readTextFileSync(path).replace(/,"message":"\w+","check":"\w+"/, "")
      .replaceAll("three.test", "edited.test");
    Deno.writeTextFileSync(path, edited);
    const found = (spool: Spool) => Array.fromAsync(spool.ids({ domain: "edited.test" }));
    await using spool = await openSpool(directory);
    assert.ok((await found(spool)).includes(last));
    await Array.fromAsync(spool.scan());
    assert.ok((await found(spool)).includes(last));
  });
});

Deno.test("ids() sees a message that was changed by hand after a dot without an answer", async () => {
  await inDirectory(async (directory) => {
    const [, , , , , last = ""] = await populate(directory);
    {
      await using spool = await openSpool(directory);
      await Array.fromAsync(spool.scan());
      await spool.dotSent(last, { recipients: [0], host: "mx", address: "192.0.2.1", at: 1000 });
    }
    const path = join(directory, "messages", last.slice(-2), last);
    const edited = Deno.readTextFileSync(path).replace(/,"message":"\w+","check":"\w+"/, "")
      .replaceAll("three.test", "edited.test");
    Deno.writeTextFileSync(path, edited);
    await using spool = await openSpool(directory);
    await Array.fromAsync(spool.scan());
    assert.ok((await Array.fromAsync(spool.ids({ domain: "edited.test" }))).includes(last));
  });
});

Deno.test("The index stays small however often entries change", async () => {
  await inDirectory(async (directory) => {
    {
      await using spool = await openSpool(directory, unsyncedFileSystem);
      const entry = await spool.load(await add(spool, [recipient("b@one.test")]));
      assert.ok(entry?.recipients[0]);
      for (let n = 1; n <= 1100; n++) {
        entry.recipients[0].nextAttemptAt = n;
        await spool.update(entry);
      }
    }
    const lines = () => {
      const [shard] = [...Deno.readDirSync(join(directory, "index"))];
      return Deno.readTextFileSync(join(directory, "index", shard?.name ?? "")).split("\n").length - 1;
    };
    assert.equal(lines(), 1100);
    assert.deepEqual([...(await scan(directory)).values()].map(({ due }) => due), [[{
      domain: "one.test",
      at: 1100,
    }]]);
    assert.equal(lines(), 1);
  });
});

Deno.test("SpoolIndex leaves out what has gone when a shard's file grows", async () => {
  const directory = await Deno.makeTempDir();
  const exists = (id: string) => {
    // Anything else may be no path at all.
    assert.match(id, /^[0-9a-z]+$/);
    return id === "0000staysxx";
  };
  const index = new SpoolIndex({ directory, logger: silentLogger, exists });
  // What a loss of power can leave at the end of a file.
  Deno.writeTextFileSync(join(directory, "xx"), `{"id":"0000goes\0\0","m"\n{"id":"0000goes`);
  const digest = {
    acceptedAt: 1,
    sender: "a@sender.test",
    domains: ["one.test"],
    due: [],
    unfinished: false,
    undeliverable: false,
  };
  const note = (id: string, size: number) =>
    index.note(id, { digest: { ...digest, done: false }, marks: { message: [size, 1, 1] } });
  note("0000staysxx", 1);
  for (let i = 0; i < 10_000; i++) {
    note(`${String(i).padStart(8, "0")}xx`, 5);
    // A flush is due every 1,000 lines; without a turn of the event loop all would be one.
    if (i % 1000 === 999) await index.close();
  }
  note("0000staysxx", 2);
  await index.close();
  const { lines } = index.read("xx");
  assert.deepEqual(lines.get("0000staysxx")?.marks.message, [2, 1, 1]);
  assert((await Deno.stat(join(directory, "xx"))).size < 512 * 1024);
  await Deno.remove(directory, { recursive: true });
});

Deno.test("SpoolIndex.readTexts() gives the latest line of an entry, written or waiting, if that is whole", async () => {
  const directory = await Deno.makeTempDir();
  const open = () => new SpoolIndex({ directory, logger: silentLogger, exists: () => true });
  const digest = {
    acceptedAt: 1,
    sender: "A@sender.test",
    due: [],
    unfinished: false,
    undeliverable: false,
    done: false,
  };
  const note = (index: SpoolIndex, id: string, domain: string) =>
    index.note(id, { digest: { ...digest, domains: [domain] }, marks: { message: [1, 1, 1] } });
  const ID = "0000staysxx";
  const read = (index: SpoolIndex) => index.readTexts("xx").get(ID) ?? "";
  const index = open();
  note(index, ID, "one.test");
  await index.close();
  note(index, ID, "two.test");
  const latest = read(index);
  assert.equal(mayMean({ domain: "two.test" })(latest), true);
  assert.equal(mayMean({ domain: "one.test" })(latest), false);
  assert.equal(mayMean({ sender: "a@SENDER.test" })(latest), true);
  assert.equal(mayMean({ sender: "sender.test" })(latest), false);
  await index.close();
  const path = join(directory, "xx");
  const text = Deno.readTextFileSync(path);
  for (
    const spoilt of [text.replaceAll("two.test", "six.test"), text.trimEnd() + "\r\n", `{"id":"${ID}\0\n`]
  ) {
    Deno.writeTextFileSync(path, spoilt);
    assert.equal(read(open()), "", spoilt);
  }
  await Deno.remove(directory, { recursive: true });
});
