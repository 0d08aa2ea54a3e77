import assert from "node:assert/strict";
import { join } from "@std/path";
import { SmtpError } from "../../smtp/reply.ts";
import { FaultyFileSystem } from "../../tests/support/faulty_file_system.ts";
import { recipient } from "../../tests/support/queue_entry.ts";
import {
  ACCEPTED,
  add,
  entryOf,
  first,
  ids,
  inDirectory,
  MESSAGE,
  names,
  read,
  scan,
} from "../../tests/support/spool.ts";

const encoder = new TextEncoder();

Deno.test("An entry that is changed or removed while it is being added stays so", async () => {
  await inDirectory(async ({ directory, open }) => {
    const fileSystem = new FaultyFileSystem();
    await using spool = await open({ fileSystem });
    for (const what of ["hold", "remove"] as const) {
      const id = spool.newId();
      const held = Promise.withResolvers<void>();
      const reached = Promise.withResolvers<void>();
      fileSystem.before = (call, path) => {
        if (call !== "sync" || path !== join(directory, "messages", id.slice(-2))) return;
        reached.resolve();
        return held.promise;
      };
      const adding = spool.add(entryOf(id, [recipient("b@one.test")]), encoder.encode(MESSAGE));
      await reached.promise;
      const entry = await spool.load(id);
      assert.ok(entry);
      first(entry).status = "held";
      const changing = what === "hold" ? spool.update(entry) : spool.remove(id);
      fileSystem.before = () => {};
      held.resolve();
      await Promise.all([adding, changing]);
      const found = await spool.load(id);
      if (what === "hold") assert.equal(first(found).status, "held");
      else assert.equal(found, undefined);
      assert.deepEqual((await ids(spool)).includes(id), what === "hold");
    }
  });
});

Deno.test("add() that fails leaves nothing behind, and says why", async () => {
  for (
    const [code, reply] of [
      ["ENOSPC", "452 4.3.1"],
      ["EDQUOT", "452 4.3.1"],
      ["EIO", "451 4.3.0"],
      ["EROFS", "451 4.3.0"],
      ["EMFILE", "451 4.3.0"],
    ] as const
  ) {
    for (const call of ["open", "write", "sync", "rename"] as const) {
      await inDirectory(async ({ directory, open }) => {
        const fileSystem = new FaultyFileSystem();
        await using spool = await open({ fileSystem, maxInMemory: 16 * 1024 });
        const before = await add(spool);
        for (const size of [10, 100_000]) {
          fileSystem.fault = (which) => which === call ? code : undefined;
          await assert.rejects(
            add(spool, undefined, `A: b\r\n\r\n${"x".repeat(size)}`),
            (error) =>
              error instanceof SmtpError && `${error.reply.code} ${error.reply.enhanced}` === reply &&
              error.cause instanceof Error,
            `${code} at ${call}`,
          );
          fileSystem.fault = () => undefined;
          assert.deepEqual(names(directory, "incoming"), [], `${code} at ${call}`);
          assert.deepEqual(await ids(spool), [before]);
        }
        await add(spool);
        assert.equal((await scan(spool)).length, 2);
      });
    }
  }
});

Deno.test("update() and remove() that fail leave the entry as it was, and work once there is room", async () => {
  for (const call of ["open", "write", "sync", "rename"] as const) {
    await inDirectory(async ({ directory, open }) => {
      const fileSystem = new FaultyFileSystem();
      await using spool = await open({ fileSystem });
      const id = await add(spool);
      const entry = await spool.load(id);
      assert.ok(entry);
      first(entry).status = "held";
      fileSystem.fault = (which, path) => which === call && path.includes("incoming") ? "ENOSPC" : undefined;
      // A rename is told by its target.
      if (call === "rename") fileSystem.fault = (which) => which === "rename" ? "ENOSPC" : undefined;
      await assert.rejects(spool.update(entry), /ENOSPC/);
      assert.deepEqual(names(directory, "incoming"), []);
      assert.equal(first(await spool.load(id)).status, "pending");
      fileSystem.fault = () => undefined;
      await spool.update(entry);
      assert.equal(first(await spool.load(id)).status, "held");
    });
  }
});

Deno.test("A file that a failed write left under its name does not stand in the way of the next one", async () => {
  await inDirectory(async ({ directory, open }) => {
    const fileSystem = new FaultyFileSystem();
    await using spool = await open({ fileSystem });
    const id = await add(spool);
    const entry = await spool.load(id);
    assert.ok(entry);
    first(entry).status = "held";
    const notice = spool.newId();
    const write = () => spool.add(entryOf(notice, [recipient("b@one.test")]), encoder.encode(MESSAGE));
    fileSystem.fault = (call) => call === "sync" || call === "remove" ? "EIO" : undefined;
    await assert.rejects(spool.update(entry), /EIO/);
    await assert.rejects(write(), SmtpError);
    assert.deepEqual(names(directory, "incoming"), [notice, `${id}.json`].sort());
    fileSystem.fault = () => undefined;
    await spool.update(entry);
    await write();
    assert.equal(first(await spool.load(id)).status, "held");
    assert.equal(await read(spool, notice), MESSAGE);
    assert.deepEqual(names(directory, "incoming"), []);
  });
});

Deno.test("dotSent() that cannot be made durable fails, and the next one begins a new journal", async () => {
  await inDirectory(async ({ directory, open }) => {
    const fileSystem = new FaultyFileSystem();
    const attempt = { recipients: [0], host: "mx.test", address: "192.0.2.1", at: ACCEPTED };
    let kept: string, lost: string;
    {
      await using spool = await open({ fileSystem });
      kept = await add(spool);
      lost = await add(spool);
      await spool.dotSent(kept, attempt);
      fileSystem.fault = (call) => call === "sync" ? "EIO" : undefined;
      await assert.rejects(spool.dotSent(lost, attempt), /EIO/);
      await assert.rejects(spool.remove(lost), /EIO/);
      assert.deepEqual(await ids(spool), [kept, lost].sort());
      fileSystem.fault = () => undefined;
      await spool.dotAnswered(kept, { recipients: [0], relayed: true });
      assert.equal(Deno.readTextFileSync(join(directory, "journal")).includes(lost), false);
    }
    await using spool = await open();
    assert.equal(first(await spool.load(kept)).status, "relayed");
    assert.equal(first(await spool.load(lost)).attemptCount, 0);
  });
});
