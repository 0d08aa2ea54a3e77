import assert from "node:assert/strict";
import { join } from "@std/path";
import { SmtpError } from "../../smtp/reply.ts";
import { FakeClock } from "../../tests/support/fake_clock.ts";
import { FaultyFileSystem } from "../../tests/support/faulty_file_system.ts";
import { recipient } from "../../tests/support/queue_entry.ts";
import { add, first, inDirectory, names } from "../../tests/support/spool.ts";
import { until } from "../../tests/support/until.ts";
import { withRoom } from "./reserve.ts";

const FULL = Object.assign(new Error("no space left on device"), { code: "ENOSPC" });

Deno.test("withRoom() tries again as long as room can be made, and only for want of room", async () => {
  let left = 2;
  let tries = 0;
  const makeRoom = () => Promise.resolve(left-- > 0);
  const result = await withRoom(() => ++tries < 3 ? Promise.reject(FULL) : Promise.resolve("done"), makeRoom);
  assert.deepEqual([result, tries], ["done", 3]);
  await assert.rejects(withRoom(() => Promise.reject(FULL), makeRoom), FULL);
  const wrapped = new Error("452", { cause: new Error("cannot write", { cause: FULL }) });
  left = 1;
  await assert.rejects(withRoom(() => Promise.reject(wrapped), makeRoom), wrapped);
  assert.equal(left, -1);
  left = 1;
  await assert.rejects(withRoom(() => Promise.reject(new Error("input/output error")), makeRoom));
  assert.equal(left, 1);
});

Deno.test("Spool on a full disk gives up its reserve for what makes room, and accepts nothing until that is whole", async () => {
  await inDirectory(async ({ directory, log, open }) => {
    const clock = new FakeClock();
    const fileSystem = new FaultyFileSystem();
    await using spool = await open({ clock, fileSystem });
    const reserve = join(directory, "reserve");
    const whole = names(reserve);
    assert.ok(whole.length >= 2 && whole.length <= 16, `${whole.length} files`);
    const [failed, waiting] = [await add(spool), await add(spool)];
    const size = (name: string) => Deno.statSync(join(reserve, name)).size;
    assert.ok(whole.every((name) => size(name) === size(whole[0] ?? "")));
    // Nothing can be made before three files are gone.
    fileSystem.fault = (call, path) =>
      (call === "open" && path.includes("incoming")) && names(reserve).length > whole.length - 3
        ? "ENOSPC"
        : undefined;
    // That a message waits makes no room.
    const held = await spool.load(waiting);
    first(held).attemptCount++;
    assert.ok(held);
    await assert.rejects(spool.update(held), /ENOSPC/);
    assert.deepEqual(names(reserve), whole);
    const entry = await spool.load(failed);
    assert.ok(entry);
    Object.assign(first(entry), { status: "failed", notice: "0notice0001" });
    await spool.update(entry);
    assert.equal(names(reserve).length, whole.length - 3);
    assert.equal(first(await spool.load(failed)).status, "failed");
    assert.throws(
      () => spool.begin(spool.newId()),
      (error) => error instanceof SmtpError && error.reply.code === 452,
    );
    // A notice is no new mail.
    await add(spool, [recipient("sender@one.test")]);
    fileSystem.fault = () => undefined;
    await clock.advance(1000);
    // The last file has its name before it is whole.
    await until(() => log.named("queue.reserve_whole").length > 0, "a whole reserve");
    assert.deepEqual(names(reserve), whole);
    await using _draft = spool.begin(spool.newId());
    assert.deepEqual(
      log.events.filter(({ event }) => event.startsWith("queue.reserve")).map(({ event }) => event),
      ["queue.reserve_used", "queue.reserve_whole"],
    );
  });
});

Deno.test("Spool keeps its reserve from one process to the next", async () => {
  await inDirectory(async ({ directory, open }) => {
    const reserve = join(directory, "reserve");
    await (await open()).close();
    const made = names(reserve).map((name) => Deno.statSync(join(reserve, name)).ino);
    await (await open()).close();
    assert.deepEqual(names(reserve).map((name) => Deno.statSync(join(reserve, name)).ino), made);
  });
});
