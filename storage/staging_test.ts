import assert from "node:assert/strict";
import { join } from "@std/path";
import { fc } from "../tests/support/property.ts";
import { FaultyFileSystem } from "../tests/support/faulty_file_system.ts";
import { StagedMessage, StagingArea, type StagingOptions } from "./staging.ts";

async function inArea(
  options: Omit<StagingOptions, "directory">,
  run: (area: StagingArea) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "mailapp-staging-" });
  try {
    await run(new StagingArea({ directory: join(directory, "staging"), ...options }));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

async function readAll(message: StagedMessage): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of message.chunks()) chunks.push(chunk.slice());
  return new Uint8Array(await new Blob(chunks as BlobPart[]).arrayBuffer());
}

/** Where a message is in memory. */
const memoryOf = ({ pieces = [] }: StagedMessage) => pieces.map(({ buffer }) => buffer);

const pattern = (length: number) => new Uint8Array(length).map((_, i) => (i * 31) % 253);

Deno.test("StagedMessage.chunks() gives what was written, however it was cut, as often as it is asked", async () => {
  await inArea({ messageLimit: 32 * 1024, totalLimit: 24 * 1024 }, async (area) => {
    const cuts = fc.array(fc.integer({ min: 0, max: 30_000 }), { maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(cuts, async (lengths) => {
        const whole = pattern(lengths.reduce((sum, length) => sum + length, 0));
        using message = area.stage();
        let at = 0;
        for (const length of lengths) {
          const chunk = whole.slice(at, at + length);
          await message.write(chunk);
          chunk.fill(0);
          at += length;
        }
        assert.equal(message.size, whole.length);
        assert.deepEqual(await readAll(message), whole);
        assert.deepEqual(await readAll(message), whole);
      }),
      { numRuns: 60 },
    );
    assert.equal(area.held, 0);
  });
});

Deno.test("StagedMessage stays in memory up to the limit, and in a file without a name beyond", async () => {
  await inArea({ messageLimit: 32 * 1024 }, async (area) => {
    using message = area.stage();
    assert.equal(message.write(pattern(32 * 1024)), undefined);
    assert.notEqual(message.pieces, undefined);
    await assert.rejects(Deno.stat(area.directory), Deno.errors.NotFound);
    await message.write(pattern(1));
    assert.equal(message.pieces, undefined);
    assert.deepEqual([...Deno.readDirSync(area.directory)], []);
    assert.equal(((await Deno.stat(area.directory)).mode ?? 0) & 0o777, 0o700);
  });
});

Deno.test("StagingArea uses memory again, with nothing in it of the message before", async () => {
  await inArea({ messageLimit: 64 * 1024 }, async (area) => {
    const before = area.stage();
    await before.write(pattern(40_000));
    const memory = memoryOf(before);
    assert.equal(memory.length, 3);
    before[Symbol.dispose]();
    assert.deepEqual(await readAll(before), new Uint8Array());
    using next = area.stage();
    assert.deepEqual(await readAll(next), new Uint8Array());
    await next.write(Uint8Array.of(1, 2, 3));
    assert.deepEqual(await readAll(next), Uint8Array.of(1, 2, 3));
    assert.ok(memoryOf(next).every((buffer) => memory.includes(buffer)));
    // Disposed of twice, a message must not give the same memory to two.
    before[Symbol.dispose]();
    using third = area.stage();
    await next.write(pattern(40_000));
    await third.write(pattern(40_000));
    assert.equal(
      new Set([next, third].flatMap(({ pieces = [] }) => pieces.map(({ buffer }) => buffer))).size,
      6,
    );
    assert.equal(area.held, 2 * 32 * 1024);
  });
});

Deno.test("StagingArea gives the memory of a message that goes to a file to one other", async () => {
  await inArea({ messageLimit: 32 * 1024 }, async (area) => {
    const large = area.stage();
    await large.write(pattern(40_000));
    assert.equal(area.held, 16 * 1024);
    large[Symbol.dispose]();
    assert.equal(area.held, 0);
    using first = area.stage();
    using second = area.stage();
    for (const message of [first, second]) await message.write(pattern(32 * 1024));
    assert.equal(new Set([first, second].flatMap(memoryOf)).size, 4);
    // A message that has been disposed of is empty, and can be written to again.
    await large.write(pattern(5));
    assert.deepEqual(await readAll(large), pattern(5));
    large[Symbol.dispose]();
  });
});

Deno.test("StagingArea keeps a bounded amount of memory to be used again", async () => {
  await inArea({}, async (area) => {
    const messages = Array.from({ length: 10 }, () => area.stage());
    for (const message of messages) await message.write(pattern(256 * 1024));
    const used = new Set(messages.flatMap(memoryOf));
    assert.equal(used.size, 160);
    for (const message of messages) message[Symbol.dispose]();
    assert.equal(area.held, 0);
    const others = Array.from({ length: 10 }, () => area.stage());
    for (const message of others) await message.write(pattern(256 * 1024));
    assert.equal(others.flatMap(memoryOf).filter((buffer) => used.has(buffer)).length, 64);
  });
});

Deno.test("StagingArea bounds the memory of all messages together", async () => {
  await inArea({ messageLimit: 64 * 1024, totalLimit: 50_000 }, async (area) => {
    using first = area.stage();
    using second = area.stage();
    await first.write(pattern(64 * 1024));
    assert.notEqual(first.pieces, undefined);
    await second.write(pattern(30_000));
    assert.equal(second.pieces, undefined);
    assert.equal(area.held, 48 * 1024);
    first[Symbol.dispose]();
    assert.equal(area.held, 0);
    assert.deepEqual(await readAll(second), pattern(30_000));
  });
});

for (const call of ["open", "write", "read"] as const) {
  Deno.test(`StagedMessage tells of ENOSPC at ${call} and leaves nothing behind`, async () => {
    const fileSystem = new FaultyFileSystem();
    fileSystem.fault = (name) => name === call ? "ENOSPC" : undefined;
    await inArea({ messageLimit: 16 * 1024, fileSystem }, async (area) => {
      using message = area.stage();
      const all = async () => {
        await message.write(pattern(40_000));
        await readAll(message);
      };
      await assert.rejects(all(), { name: "StorageError", fault: "no-space" });
      assert.deepEqual([...Deno.readDirSync(area.directory)], []);
    });
  });
}
