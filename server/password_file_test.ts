import assert from "node:assert/strict";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import { PasswordFile, PasswordFileError } from "./password_file.ts";

async function withFile(text: string | Uint8Array, run: (path: string) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeFile(path, typeof text === "string" ? new TextEncoder().encode(text) : text);
    await run(path);
  } finally {
    await Deno.remove(path).catch(() => {});
  }
}

const open = (path: string, clock = new FakeClock(), logger = new RecordingLog()) =>
  new PasswordFile(path, { clock, logger });

Deno.test("PasswordFile takes the first line, without a byte order mark", async () => {
  for (const text of ["secret", "secret\n", "secret\r\nmore\n", "\ufeffsecret\n"]) {
    await withFile(text, (path) => Promise.resolve(assert.equal(open(path).password, "secret")));
  }
  await withFile(" pässword \n", (path) => Promise.resolve(assert.equal(open(path).password, " pässword ")));
});

Deno.test("PasswordFile refuses what can be no password", async () => {
  const utf16 = Uint8Array.of(0xff, 0xfe, 0x73, 0, 0x65, 0);
  const cases: readonly (readonly [string | Uint8Array, RegExp])[] = [
    ["", /empty first line/],
    ["\nsecret", /empty first line/],
    ["\ufeff\nsecret", /empty first line/],
    [utf16, /not text in UTF-8/],
    [Uint8Array.of(0x73, 0xe9), /not text in UTF-8/],
    ["se\0cret", /control/],
    ["x".repeat(70_000), /too large/],
  ];
  for (const [text, message] of cases) {
    await withFile(text, (path) => {
      assert.throws(
        () => open(path),
        (error) => error instanceof PasswordFileError && message.test(error.message),
      );
      return Promise.resolve();
    });
  }
  assert.throws(() => open("/no/such/file"), /cannot be read/);
});

Deno.test("PasswordFile notices another password, and keeps the one it has while there is none", async () => {
  await withFile("one\n", async (path) => {
    const clock = new FakeClock();
    const log = new RecordingLog();
    const file = open(path, clock, log);
    await Deno.writeTextFile(`${path}.new`, "two\n");
    await Deno.rename(`${path}.new`, path);
    assert.equal(file.password, "one");
    await clock.advance(1_000);
    assert.equal(file.password, "two");
    await Deno.remove(path);
    for (let i = 0; i < 3; i++) {
      await clock.advance(1_000);
      assert.equal(file.password, "two");
    }
    assert.deepEqual(log.events.map(({ event }) => event), ["route.password_kept"]);
    await Deno.writeTextFile(path, "three\n");
    await clock.advance(1_000);
    assert.equal(file.password, "three");
  });
});

Deno.test("PasswordFile waits for no pipe, at the start or in the place of its file", async () => {
  const directory = await Deno.makeTempDir();
  const path = `${directory}/password`;
  const pipe = `${directory}/pipe`;
  try {
    await new Deno.Command("mkfifo", { args: [pipe] }).output();
    assert.throws(() => open(pipe), /not a regular file/);
    assert.throws(() => open(directory), /not a regular file/);
    await Deno.writeTextFile(path, "secret\n");
    const clock = new FakeClock();
    const logger = new RecordingLog();
    const file = open(path, clock, logger);
    await Deno.rename(pipe, path);
    await clock.advance(2000);
    assert.equal(file.password, "secret");
    assert.equal(logger.named("route.password_kept").length, 1);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
