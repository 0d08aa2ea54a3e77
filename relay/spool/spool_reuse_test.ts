import assert from "node:assert/strict";
import { join } from "@std/path";
import { FaultyFileSystem } from "../../tests/support/faulty_file_system.ts";
import { add, inDirectory, MESSAGE, messageFile, names, read } from "../../tests/support/spool.ts";
import { until } from "../../tests/support/until.ts";

Deno.test("The file of a message that has left takes the next one, once its old name is durably gone", async () => {
  await inDirectory(async ({ directory, open }) => {
    const fileSystem = new FaultyFileSystem();
    await using spool = await open({ fileSystem });
    const opened = () =>
      fileSystem.calls.filter((call) => call.startsWith("open ")).map((call) => call.slice(5));
    const left = await add(spool, undefined, `A: b\r\n\r\n${"x".repeat(10_000)}`);
    const held = Promise.withResolvers<void>();
    fileSystem.before = (call, path) =>
      call === "sync" && path.endsWith(join("messages", left.slice(-2))) ? held.promise : undefined;
    await spool.remove(left);
    assert.deepEqual(names(directory, "spare"), [left]);
    fileSystem.calls.length = 0;
    const next = add(spool);
    await until(() => fileSystem.calls.some((call) => call.startsWith("rename ")), "the rename");
    assert.ok(opened().some((path) => path.startsWith(join(directory, "incoming"))));
    held.resolve();
    fileSystem.before = () => {};
    await next;
    const inode = Deno.statSync(join(directory, "spare", left)).ino;
    const taker = await add(spool);
    assert.equal(Deno.statSync(messageFile(directory, taker)).ino, inode);
    assert.equal(await read(spool, taker), MESSAGE);
    assert.deepEqual(names(directory, "spare"), []);
  });
});

Deno.test("No file is written again that has another name, may be read, or is large", async () => {
  await inDirectory(async ({ directory, open }) => {
    await using spool = await open();
    const linked = await add(spool);
    const copy = join(directory, "copy");
    Deno.linkSync(messageFile(directory, linked), copy);
    const tried = await add(spool);
    const entry = await spool.load(tried);
    assert.ok(entry);
    await spool.update(entry);
    const large = await add(spool, undefined, "x".repeat(300_000));
    for (const id of [linked, tried, large]) await spool.remove(id);
    assert.deepEqual(names(directory, "spare"), []);
    assert.deepEqual(names(directory, "states", tried.slice(-2)), []);
    assert.match(Deno.readTextFileSync(copy), /Hello/);
  });
});

Deno.test("A message that is too large for memory takes no spare file", async () => {
  await inDirectory(async ({ directory, open }) => {
    await using spool = await open({ maxInMemory: 16 * 1024 });
    const left = await add(spool);
    await spool.remove(left);
    await add(spool, undefined, "x".repeat(50_000));
    assert.deepEqual(names(directory, "spare"), [left]);
    await add(spool);
    assert.deepEqual(names(directory, "spare"), []);
  });
});

Deno.test("What cannot be made durable of a removal leaves no spare file", async () => {
  await inDirectory(async ({ directory, open, log }) => {
    const fileSystem = new FaultyFileSystem();
    await using spool = await open({ fileSystem });
    const id = await add(spool);
    fileSystem.fault = (call, path) =>
      call === "sync" && path.includes(join(directory, "messages")) ? "EIO" : undefined;
    await spool.remove(id);
    await until(() => names(directory, "spare").length === 0, "an empty directory");
    assert.ok(log.events.some(({ event }) => event === "queue.not_removed"));
    fileSystem.fault = () => undefined;
  });
});

Deno.test("Spare files are gone with the spool, and what a crash left of them at the next start", async () => {
  await inDirectory(async ({ directory, open }) => {
    {
      await using spool = await open();
      await spool.remove(await add(spool));
      assert.equal(names(directory, "spare").length, 1);
    }
    assert.deepEqual(names(directory, "spare"), []);
    Deno.writeTextFileSync(join(directory, "spare", "0abcdefgh123456zz"), "left");
    await using _spool = await open();
    assert.deepEqual(names(directory, "spare"), []);
  });
});
