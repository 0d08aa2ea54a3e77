import assert from "node:assert/strict";
import { join } from "@std/path";
import { FakeClock } from "../../tests/support/fake_clock.ts";
import { FaultyFileSystem } from "../../tests/support/faulty_file_system.ts";
import { recipient } from "../../tests/support/queue_entry.ts";
import { add, first, ids, inDirectory, messageFile, names, scan } from "../../tests/support/spool.ts";

Deno.test("scan() yields what is pending or unfinished, and ids() everything", async () => {
  await inDirectory(async ({ open }) => {
    await using spool = await open({ clock: new FakeClock() });
    const pending = await add(spool);
    const held = await add(spool, [recipient("b@one.test", { status: "held" })]);
    const failed = await add(spool, [recipient("b@one.test", { status: "failed" })]);
    const noticed = await add(spool, [recipient("b@one.test", { nextAttemptAt: 5, notice: "0notice0001" })]);
    const done = await add(spool, [recipient("b@one.test", { status: "expired", settled: true })]);
    assert.deepEqual(await ids(spool), [pending, held, failed, noticed, done].sort());
    const found = new Map((await scan(spool)).map((summary) => [summary.id, summary]));
    assert.deepEqual([...found.keys()].sort(), [pending, failed, noticed].sort());
    assert.deepEqual(found.get(failed), { id: failed, age: 0, due: [], unfinished: true });
    assert.equal(found.get(noticed)?.unfinished, true);
    assert.equal(found.get(pending)?.unfinished, undefined);
    assert.deepEqual(await ids(spool), [pending, held, failed, noticed].sort());
  });
});

Deno.test("scan() leaves out what is added while it runs, and sees what is changed", async () => {
  await inDirectory(async ({ open }) => {
    await using spool = await open();
    const before = await Promise.all(Array.from({ length: 20 }, () => add(spool)));
    const found: string[] = [];
    for await (const { id } of spool.scan()) {
      if (found.length === 0) {
        await add(spool);
        for (const other of before.filter((other) => other !== id)) {
          const entry = await spool.load(other);
          assert.ok(entry);
          first(entry).status = "held";
          await spool.update(entry);
        }
      }
      found.push(id);
    }
    assert.equal(found.length, 1);
    assert.equal((await scan(spool)).length, 2);
  });
});

Deno.test("scan() goes on past what a full disk keeps it from removing", async () => {
  await inDirectory(async ({ open, log }) => {
    const fileSystem = new FaultyFileSystem();
    await using spool = await open({ fileSystem });
    const done = await add(spool, [recipient("b@one.test", { status: "failed", settled: true })]);
    const pending = [await add(spool), await add(spool)];
    fileSystem.fault = (call) => call === "write" ? "ENOSPC" : undefined;
    assert.deepEqual((await scan(spool)).map(({ id }) => id).sort(), pending.sort());
    assert.deepEqual(
      log.events.filter(({ event }) => event === "queue.not_removed").map(({ fields }) => fields.id),
      [done],
    );
    fileSystem.fault = () => undefined;
    await scan(spool);
    assert.deepEqual(await ids(spool), pending);
  });
});

Deno.test("scan() goes on past a folder that cannot be read, and says so at the end", async () => {
  await inDirectory(async ({ directory, open }) => {
    for (let shard = 1; shard <= 3; shard++) {
      await using spool = await open({ random: (buffer) => void buffer.fill(0).fill(shard, 3) });
      await add(spool);
    }
    await using spool = await open();
    const found: string[] = [];
    let taken = "";
    const all = (async () => {
      for await (const { id } of spool.scan()) {
        if (found.length === 0) {
          taken = names(directory, "messages").find((shard) => shard !== id.slice(-2)) ?? "";
          await Deno.remove(join(directory, "messages", taken), { recursive: true });
        }
        found.push(id);
      }
    })();
    await assert.rejects(all, (error: Error) => error.message.includes(`${taken}: NotFound`));
    assert.equal(found.length, 2);
  });
});

Deno.test("scanRest() yields what scan() could not read, once, and nothing that came meanwhile", async () => {
  await inDirectory(async ({ directory, open, log }) => {
    const inShard = (shard: number) => open({ random: (buffer) => void buffer.fill(0).fill(shard, 3) });
    for (let shard = 1; shard <= 2; shard++) {
      await using spool = await inShard(shard);
      await add(spool);
      await add(spool);
    }
    await using spool = await inShard(1);
    const all = await ids(spool);
    const shardsOf = (some: readonly string[]) => [...new Set(some.map((id) => id.slice(-2)))];
    const folder = (shard: string) => join(directory, "messages", shard);
    const found: string[] = [];
    let [unlisted = "", unreadable = ""] = ["", ""];
    const scanned = (async () => {
      for await (const { id } of spool.scan()) {
        found.push(id);
        if (found.length > 1) continue;
        unlisted = shardsOf(all).find((shard) => shard !== id.slice(-2)) ?? "";
        await Deno.rename(folder(unlisted), join(directory, "away"));
        unreadable = all.find((other) => other !== id && other.slice(-2) !== unlisted) ?? "";
        await Deno.rename(messageFile(directory, unreadable), join(directory, "aside"));
        await Deno.mkdir(messageFile(directory, unreadable));
      }
    })();
    await assert.rejects(
      scanned,
      (error: Error) =>
        error.message.includes(`${unlisted}: NotFound`) && error.message.includes(`${unreadable}: `),
    );
    assert.equal(found.length, 1);
    const rest = async () => (await Array.fromAsync(spool.scanRest())).map(({ id }) => id).sort();
    await assert.rejects(rest(), (error: Error) => error.message.includes(`${unlisted}: NotFound`));
    await Deno.remove(messageFile(directory, unreadable));
    await Deno.rename(join(directory, "aside"), messageFile(directory, unreadable));
    await Deno.rename(join(directory, "away"), folder(unlisted));
    await add(spool);
    assert.deepEqual(await rest(), all.filter((id) => id !== found[0]));
    assert.deepEqual(await rest(), []);
    assert.deepEqual(log.named("queue.unreadable").map(({ fields }) => fields.id), [unreadable]);
  });
});

Deno.test("Spool removes states without a message, but keeps those of damaged ones", async () => {
  await inDirectory(async ({ directory, open }) => {
    let orphan: string, damaged: string;
    {
      await using spool = await open();
      orphan = await add(spool);
      damaged = await add(spool);
      for (const id of [orphan, damaged]) {
        const entry = await spool.load(id);
        assert.ok(entry);
        await spool.update(entry);
      }
    }
    Deno.removeSync(messageFile(directory, orphan));
    Deno.renameSync(messageFile(directory, damaged), join(directory, "damaged", damaged));
    await using spool = await open();
    await scan(spool);
    assert.deepEqual(names(directory, "states", orphan.slice(-2)), []);
    assert.deepEqual(names(directory, "damaged"), [damaged, `${damaged}.json`]);
  });
});

Deno.test("Spool clears away what a crash left half written", async () => {
  await inDirectory(async ({ directory, open }) => {
    await (await open()).close();
    for (const name of ["0abcdefgh123456zz", "0abcdefgh123456zz.json", "journal", crypto.randomUUID()]) {
      Deno.writeTextFileSync(join(directory, "incoming", name), "half");
    }
    await using _spool = await open();
    assert.deepEqual(names(directory, "incoming"), []);
    assert.deepEqual(names(directory, "damaged"), []);
  });
});
