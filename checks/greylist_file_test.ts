import assert from "node:assert/strict";
import { join } from "@std/path";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import { GreylistFile } from "./greylist_file.ts";

const MINUTE = 60_000;

async function inFolder(run: (path: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await run(join(folder, "greylist"));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const sender = (i: number) => ({ ip: `10.0.${i}.1`, domain: "example.com" });

Deno.test("GreylistFile remembers across restarts, also across one without a goodbye", () =>
  inFolder(async (path) => {
    const clock = new FakeClock();
    const logger = new RecordingLog();
    const first = await GreylistFile.open({ path, clock, logger });
    for (const i of [1, 2]) assert.equal(first.ask(sender(i)).known, false);
    clock.jump(MINUTE);
    assert.equal(first.ask(sender(1)).known, true);
    await first.flushed();
    // As after kill -9: the first one is still open when the second reads.
    await using second = await GreylistFile.open({ path, clock, logger });
    assert.equal(second.ask(sender(1)).known, true);
    assert.equal(second.ask(sender(2)).known, true);
    assert.equal(second.ask(sender(3)).known, false);
    await first[Symbol.asyncDispose]();
    assert.deepEqual(logger.events, []);
    assert.equal(((await Deno.stat(path)).mode ?? 0) & 0o777, 0o600);
  }));

Deno.test("GreylistFile reads what it can of a damaged file", () =>
  inFolder(async (path) => {
    const clock = new FakeClock();
    const now = Math.floor(clock.now() / 1000);
    const lines = [
      `k ${now} 10.0.1.0/24 example.com`,
      "garbage \0\u001b",
      `x ${now} 10.0.2.0/24 example.com`,
      `k ${now} 10.0.3.0/24 exam`,
    ];
    await Deno.writeTextFile(path, ["mailapp greylist 1", ...lines].join("\n"));
    {
      await using file = await GreylistFile.open({ path, clock, logger: new RecordingLog() });
      assert.equal(file.ask(sender(1)).known, true);
      assert.equal(file.ask(sender(2)).known, false);
    }
    assert.match(
      await Deno.readTextFile(path),
      /^mailapp greylist 1\nk \d+ 10\.0\.1\.0\/24 example\.com\ns \d+ 10\.0\.2\.0\/24 example\.com\n$/,
    );
    await Deno.writeTextFile(path, "something else\nk 1 10.0.1.0/24 example.com\n");
    await using other = await GreylistFile.open({ path, clock, logger: new RecordingLog() });
    assert.equal(other.ask(sender(1)).known, false);
  }));

Deno.test("GreylistFile is written anew before its lines become too many", () =>
  inFolder(async (path) => {
    const clock = new FakeClock();
    await using file = await GreylistFile.open({ path, clock, logger: new RecordingLog() });
    for (let day = 0; day < 300; day++) {
      for (let i = 0; i < 100; i++) file.ask(sender(i));
      clock.jump(day === 0 ? MINUTE : 24 * 60 * MINUTE);
      await file.flushed();
    }
    const lines = (await Deno.readTextFile(path)).split("\n");
    assert.ok(lines.length < 2 * 100 + 10_000 + 200, String(lines.length));
    assert.equal(file.ask(sender(7)).known, true);
  }));

Deno.test("GreylistFile goes on in memory where the disk fails, says so once, and writes all when it can again", () =>
  inFolder(async (path) => {
    const clock = new FakeClock();
    const logger = new RecordingLog();
    await Deno.mkdir(path);
    await using file = await GreylistFile.open({ path, clock, logger });
    assert.equal(file.ask(sender(1)).known, false);
    await file.flushed();
    clock.jump(MINUTE);
    assert.equal(file.ask(sender(1)).known, true);
    await file.flushed();
    assert.deepEqual(logger.events.map(({ event }) => event), ["greylist.not_kept"]);
    await Deno.remove(path);
    file.ask(sender(2));
    await file.flushed();
    assert.equal((await Deno.readTextFile(path)).split("\n").length, 4);
  }));
