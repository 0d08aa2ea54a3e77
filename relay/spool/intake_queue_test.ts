import assert from "node:assert/strict";
import { join } from "@std/path";
import { SmtpError } from "../../smtp/reply.ts";
import { FakeClock } from "../../tests/support/fake_clock.ts";
import { FaultyFileSystem } from "../../tests/support/faulty_file_system.ts";
import { recipient } from "../../tests/support/queue_entry.ts";
import { entryOf, ids, inDirectory, MESSAGE, names, read, scan } from "../../tests/support/spool.ts";
import { until } from "../../tests/support/until.ts";
import type { FileSystem } from "../../storage/file_system.ts";
import { type FinishedMessage, intakePath, IntakeQueue } from "./intake_queue.ts";
import type { Spool } from "./spool.ts";

const encoder = new TextEncoder();

/** The queue of another thread, but that it is in this one: what passes between them is copied as messages are. */
function intake(
  spool: Spool,
  { thread = 0, ...options }: {
    readonly thread?: number;
    readonly fileSystem?: FileSystem;
    readonly monotonic?: () => number;
    readonly random?: (buffer: Uint8Array<ArrayBuffer>) => void;
  } = {},
): IntakeQueue {
  return new IntakeQueue({
    ...options,
    share: spool.intakeShare(),
    thread,
    enter: async (finished) => {
      const { entered } = await spool.enterFrom(thread, structuredClone(finished));
      return structuredClone(entered);
    },
  });
}

async function add(queue: IntakeQueue, message = MESSAGE): Promise<string> {
  const id = queue.newId();
  await using draft = queue.begin(id);
  await draft.write(encoder.encode(message));
  await draft.commit(entryOf(id, [recipient("b@one.test")], 0), encoder.encode("Received: x\r\n"));
  return id;
}

Deno.test("IntakeQueue adds messages to a spool, small and large, that are there after a restart", async () => {
  await inDirectory(async ({ directory, open, log }) => {
    const sizes = [0, 20, 16_384, 300_000, 2_000_000];
    const texts = new Map<string, string>();
    {
      await using spool = await open({ intakeThreads: 2 });
      const queues = [intake(spool), intake(spool, { thread: 1 })];
      for (const size of sizes) {
        for (const queue of queues) {
          const text = `Subject: ${size}\r\n\r\n${"x".repeat(size)}\r\n`;
          texts.set(await add(queue, text), `Received: x\r\n${text}`);
        }
      }
      for (const [id, text] of texts) assert.equal(await read(spool, id), text);
      assert.deepEqual(await ids(spool), [...texts.keys()].sort());
      assert.deepEqual(names(directory, "incoming"), []);
    }
    await using spool = await open();
    const summaries = await scan(spool);
    assert.deepEqual(summaries.map(({ id }) => id).sort(), [...texts.keys()].sort());
    for (const [id, text] of texts) assert.equal(await read(spool, id), text);
    assert.deepEqual(log.events.filter(({ level }) => level === "error"), []);
  });
});

Deno.test("Spool.enterFrom() gives the summary that the scheduler gets of any other message", async () => {
  await inDirectory(async ({ open }) => {
    const clock = new FakeClock();
    await using spool = await open({ clock, intakeThreads: 2 });
    const seen: unknown[] = [];
    const queue = new IntakeQueue({
      share: spool.intakeShare(),
      thread: 1,
      monotonic: () => clock.monotonic(),
      enter: async (finished) => {
        await clock.advance(5);
        const { entered, summary } = await spool.enterFrom(1, finished);
        seen.push(summary);
        return entered;
      },
    });
    const id = await add(queue);
    assert.deepEqual(seen, [{ id, age: 5, due: [{ domain: "one.test", at: 0 }] }]);
  });
});

Deno.test("the ids of all threads differ, at the same time and with the same random part", async () => {
  await inDirectory(async ({ open }) => {
    const clock = new FakeClock();
    const random = (buffer: Uint8Array<ArrayBuffer>) => void buffer.fill(7);
    await using spool = await open({ clock, random, intakeThreads: 3 });
    const monotonic = () => clock.monotonic();
    const queues = [0, 1, 2].map((thread) => intake(spool, { thread, random, monotonic }));
    const drawn = new Set<string>();
    for (let count = 0; count < 3000; count++) {
      for (const queue of [spool, ...queues]) drawn.add(queue.newId());
    }
    assert.equal(drawn.size, 12_000);
    const [first = ""] = drawn;
    assert.equal(new Set(Array.from(drawn, (id) => id.slice(0, -10))).size, 1);
    assert.equal(Number.parseInt(first.slice(0, -10), 36), spool.intakeShare().time);
  });
});

Deno.test("IntakeQueue refuses while the reserve of the spool is used up, until it is whole again", async () => {
  await inDirectory(async ({ directory, open }) => {
    const clock = new FakeClock();
    const fileSystem = new FaultyFileSystem();
    await using spool = await open({ clock, fileSystem, intakeThreads: 2 });
    const queue = intake(spool);
    const whole = names(directory, "reserve").length;
    fileSystem.fault = (call) =>
      call === "open" && names(directory, "reserve").length === whole ? "ENOSPC" : undefined;
    const make = () => fileSystem.openSync(join(directory, "x"), { create: true, write: true }).close();
    await spool.withRoom(() => Promise.try(make));
    assert.throws(
      () => queue.begin(queue.newId()),
      (error) => error instanceof SmtpError && error.reply.code === 452,
    );
    fileSystem.fault = () => undefined;
    await clock.advance(1000);
    const { full } = spool.intakeShare();
    await until(() => Atomics.load(full, 0) === 0, "a whole reserve");
    await add(queue);
  });
});

for (const call of ["open", "write", "sync", "rename"] as const) {
  for (const [code, reply] of [["ENOSPC", 452], ["EIO", 451]] as const) {
    Deno.test(`IntakeQueue answers ${reply} and leaves nothing where ${call} fails with ${code}`, async () => {
      await inDirectory(async ({ directory, open }) => {
        const fileSystem = new FaultyFileSystem();
        await using spool = await open({ fileSystem, intakeThreads: 2 });
        const queue = intake(spool, { fileSystem });
        await add(queue);
        fileSystem.fault = (made, path) =>
          made === call && /\/(incoming|messages)\//.test(path) ? code : undefined;
        const before = await ids(spool);
        await assert.rejects(
          add(queue),
          (error) =>
            error instanceof SmtpError && error.reply.code === reply && String(error.cause).includes(code),
        );
        fileSystem.fault = () => undefined;
        assert.deepEqual(await ids(spool), before);
        assert.deepEqual(names(directory, "incoming"), []);
        await add(queue);
      });
    });
  }
}

Deno.test("Spool.forgetIntake() removes what a dead thread was writing, and nothing of others", async () => {
  await inDirectory(async ({ directory, open, log }) => {
    await using spool = await open({ intakeThreads: 2 });
    const [dead, other] = [0, 1].map((thread) => intakePath(directory, { thread, id: spool.newId() }));
    for (const path of [dead, other]) await Deno.writeTextFile(path ?? "", "half a mess");
    spool.forgetIntake(0);
    assert.deepEqual(names(directory, "incoming").map((name) => join(directory, "incoming", name)), [other]);
    await spool.close();
    await using _ = await open();
    assert.deepEqual(names(directory, "incoming"), []);
    assert.deepEqual(log.named("queue.damaged"), []);
  });
});

Deno.test("Spool.enterFrom() takes no id that is none, and no file that is not there", async () => {
  await inDirectory(async ({ open }) => {
    await using spool = await open({ intakeThreads: 2 });
    const finished = (id: string): FinishedMessage => ({ entry: entryOf(id, [recipient("b@one.test")]) });
    for (const id of ["", "../../x", "a/b", "A"]) {
      await assert.rejects(spool.enterFrom(0, finished(id)), TypeError);
    }
    const { entered, summary } = await spool.enterFrom(0, finished(spool.newId()));
    assert.equal(entered.stored, false);
    assert.equal(summary, undefined);
    assert.deepEqual(await ids(spool), []);
  });
});
