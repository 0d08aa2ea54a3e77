import assert from "node:assert/strict";
import { join } from "@std/path";
import { SmtpError } from "../../smtp/reply.ts";
import { FakeClock } from "../../tests/support/fake_clock.ts";
import { FaultyFileSystem } from "../../tests/support/faulty_file_system.ts";
import { largestEntry, recipient } from "../../tests/support/queue_entry.ts";
import { RecordingLog } from "../../tests/support/recording_log.ts";
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
import type { QueueEntry } from "../queue_entry.ts";
import { SpoolLockedError, SpoolPathError, SpoolVersionError } from "./directory.ts";

const encoder = new TextEncoder();

Deno.test("Spool keeps an entry and its message over a restart", async () => {
  await inDirectory(async ({ open, log }) => {
    const clock = new FakeClock();
    const uptime = () => 5000 + clock.monotonic();
    let id: string;
    {
      await using spool = await open({ clock, uptime });
      id = await add(spool, [recipient("b@one.test"), recipient("c@two.test", { nextAttemptAt: 7 })]);
    }
    await clock.advance(1000);
    await using spool = await open({ clock, uptime });
    assert.deepEqual(await scan(spool), [{
      id,
      age: 1000,
      due: [{ domain: "one.test", at: 0 }, { domain: "two.test", at: 7 }],
    }]);
    assert.equal(await read(spool, id), MESSAGE);
    const entry = await spool.load(id);
    first(entry).status = "relayed";
    assert.ok(entry);
    await spool.update(entry);
    assert.deepEqual(await spool.load(id), entry);
    await spool.remove(id);
    assert.equal(await spool.load(id), undefined);
    assert.deepEqual(await ids(spool), []);
    assert.deepEqual(log.events.filter(({ level }) => level === "error"), []);
  });
});

Deno.test("Spool keeps an entry of 1,000 recipients and a message of any bytes", async () => {
  await inDirectory(async ({ open }) => {
    await using spool = await open();
    const recipients = Array.from(
      { length: 1000 },
      (_, index) =>
        recipient(`somebody.with.a.long.name.${index}@one.test`, {
          originalRecipient: { type: "rfc822", address: `somebody.else.with.a.long.name.${index}@one.test` },
        }),
    );
    const message = Uint8Array.from({ length: 100_000 }, (_, index) => index % 256);
    const entry = entryOf(spool.newId(), recipients, message.length);
    await spool.add(entry, message);
    assert.deepEqual(await spool.load(entry.id), entry);
    await using stored = await spool.open(entry.id);
    const bytes: number[] = [];
    for await (const chunk of stored.chunks()) bytes.push(...chunk);
    assert.deepEqual(new Uint8Array(bytes), message);
  });
});

Deno.test("Spool reads again the largest entries that it takes, and their states", async () => {
  await inDirectory(async ({ open, log }) => {
    const entries: QueueEntry[] = [];
    {
      await using spool = await open();
      for (const count of [200, 1000, 10_000]) {
        const entry = largestEntry({ id: spool.newId(), size: MESSAGE.length }, count);
        const recipients = entry.recipients.map((recipient) => ({ ...recipient, attempts: [] }));
        await spool.add({ ...entry, recipients }, encoder.encode(MESSAGE));
        await spool.update(entry);
        entries.push(entry);
      }
    }
    await using spool = await open();
    for (const entry of entries) assert.deepEqual(await spool.load(entry.id), entry);
    assert.deepEqual(log.events.filter(({ level }) => level === "error"), []);
  });
});

Deno.test("Spool refuses an entry whose head it could not read again", async () => {
  await inDirectory(async ({ directory, open }) => {
    await using spool = await open();
    const address = "x".repeat(1000);
    const recipients = Array.from({ length: 20_000 }, (_, index) => recipient(`${address}${index}@one.test`));
    await assert.rejects(
      add(spool, recipients),
      (error) => error instanceof SmtpError && error.reply.code === 452,
    );
    assert.deepEqual(names(directory, "incoming"), []);
    assert.deepEqual(await ids(spool), []);
  });
});

Deno.test("Spool refuses a second process and names the first", async () => {
  await inDirectory(async ({ open }) => {
    {
      await using _spool = await open();
      await assert.rejects(
        open(),
        (error) =>
          error instanceof SpoolLockedError && error.pid === Deno.pid && /process \d+$/.test(error.message),
      );
    }
    await using _again = await open();
  });
});

Deno.test("Spool refuses a second process also where the file lock was removed or replaced", async () => {
  await inDirectory(async ({ directory, open }) => {
    const lock = join(directory, "lock");
    await using _spool = await open();
    for (const change of [() => Deno.removeSync(lock), () => Deno.writeTextFileSync(lock, "1\n")]) {
      change();
      await assert.rejects(open(), SpoolLockedError);
    }
  });
});

Deno.test("Spool refuses a directory whose file lock an older version holds", async () => {
  await inDirectory(async ({ directory, open }) => {
    const file = await Deno.open(join(directory, "lock"), { create: true, write: true });
    await file.write(encoder.encode("123\n"));
    await file.lock(true);
    await assert.rejects(open(), (error) => error instanceof SpoolLockedError && error.pid === 123);
    file.close();
    await using _spool = await open();
  });
});

Deno.test("Spool says what stands in the place of one of its files or directories, and opens once that is gone", async () => {
  const makers: Record<string, (path: string) => unknown> = {
    directory: (path) => Deno.mkdirSync(path),
    pipe: (path) => assert.ok(new Deno.Command("mkfifo", { args: [path] }).outputSync().success),
    link: (path) => Deno.symlinkSync("/dev/null", path),
    "dangling link": (path) => Deno.symlinkSync("nowhere", path),
    file: (path) => Deno.writeTextFileSync(path, ""),
  };
  const files = ["lock", "format", "journal", "time"];
  const directories = ["incoming", "spare", "messages", "states", "damaged", "index", "reserve"];
  for (const [kind, make] of Object.entries(makers)) {
    for (
      const name of kind === "file" ? directories : kind === "directory" ? files : [...files, ...directories]
    ) {
      await inDirectory(async ({ directory, open }) => {
        const path = join(directory, name);
        make(path);
        await assert.rejects(
          open(),
          (error) => error instanceof SpoolPathError && error.message.includes(path),
        );
        Deno.removeSync(path);
        await using _spool = await open();
      });
    }
  }
});

Deno.test("Spool works in a directory that a symbolic link leads to", async () => {
  await inDirectory(async ({ directory, open }) => {
    const elsewhere = await Deno.makeTempDir();
    Deno.symlinkSync(elsewhere, join(directory, "damaged"));
    await using spool = await open();
    assert.deepEqual(await ids(spool), []);
    await Deno.remove(elsewhere, { recursive: true });
  });
});

Deno.test("Spool refuses a directory of another version, and leaves it alone", async () => {
  await inDirectory(async ({ directory, open }) => {
    await Deno.writeTextFile(join(directory, "format"), "mailapp spool 2\n");
    await assert.rejects(open(), SpoolVersionError);
    assert.equal(await Deno.readTextFile(join(directory, "format")), "mailapp spool 2\n");
  });
});

Deno.test("newId() gives ids that are safe, and unique with a clock that stands or goes back", async () => {
  await inDirectory(async ({ open }) => {
    const seen = new Set<string>();
    for (let start = 0; start < 3; start++) {
      await using spool = await open({ clock: new FakeClock(ACCEPTED - (start % 2) * 86_400_000) });
      for (let i = 0; i < 3000; i++) seen.add(spool.newId());
    }
    assert.equal(seen.size, 9000);
    for (const id of seen) assert.match(id, /^[0-9a-z]{18}$/);
    const shards = new Set([...seen].map((id) => id.slice(-2)));
    assert.ok(shards.size >= 3 && shards.size <= 9, "consecutive messages share a directory");
  });
});

Deno.test("Spool sees a crash between dot and answer as an attempt without reply", async () => {
  await inDirectory(async ({ open }) => {
    const clock = new FakeClock(ACCEPTED);
    let id: string;
    {
      await using spool = await open({ clock });
      id = await add(spool, [recipient("b@one.test"), recipient("c@one.test"), recipient("d@one.test")]);
      await spool.dotSent(id, { recipients: [0, 1], host: "mx.test", address: "192.0.2.1", at: ACCEPTED });
      // While this process waits for the answer, it is not lost yet.
      assert.equal(first(await spool.load(id)).attemptCount, 0);
    }
    const logger = new RecordingLog();
    let resendAfter = 5000;
    await using spool = await open({ clock, resendAfter: () => resendAfter, logger });
    const [summary] = await scan(spool);
    assert.deepEqual(summary?.due, [{ domain: "one.test", at: 0 }]);
    const entry = await spool.load(id);
    assert.ok(entry);
    // Told once, however often it is read: a second copy may follow.
    assert.deepEqual(
      logger.events.filter(({ event }) => event === "attempt.deferred").map(({ fields }) => fields),
      ["b", "c"].map((name) => ({
        id,
        recipient: `${name}@one.test`,
        host: "mx.test",
        address: "192.0.2.1",
        status: "4.4.2",
        error: "no answer to the final dot: the process ended while it waited",
        dot_sent_no_reply: true,
        attempts: 1,
        again_ms: 5000,
      })),
    );
    assert.deepEqual(entry.recipients.map(({ attemptCount }) => attemptCount), [1, 1, 0]);
    assert.deepEqual(first(entry).attempts, [{
      at: ACCEPTED,
      host: "mx.test",
      address: "192.0.2.1",
      error: "no answer to the final dot: the process ended while it waited",
      status: "4.4.2",
      dotSentNoReply: true,
    }]);
    assert.equal(first(entry).nextAttemptAt, ACCEPTED + 5000);
    // As after a reload with another schedule.
    resendAfter = 70_000;
    assert.equal(first(await spool.load(id)).nextAttemptAt, ACCEPTED + 70_000);
    // Once it is in the state file it is not counted again.
    await spool.update(entry);
    assert.deepEqual(await spool.load(id), entry);
    await spool.close();
    await using later = await open({ clock });
    assert.deepEqual(await later.load(id), entry);
  });
});

Deno.test("Spool does not trust a dot from the future with the time of the next attempt", async () => {
  await inDirectory(async ({ open }) => {
    let id: string;
    {
      await using spool = await open();
      id = await add(spool);
      await spool.dotSent(id, { recipients: [0], host: "mx", address: "192.0.2.1", at: ACCEPTED + 1e10 });
    }
    await using spool = await open({ clock: new FakeClock(ACCEPTED) });
    assert.equal(first(await spool.load(id)).nextAttemptAt, ACCEPTED + 60_000);
  });
});

Deno.test("Spool never sends again what was answered with 2xx", async () => {
  await inDirectory(async ({ open }) => {
    let two: string, one: string, wanted: string;
    {
      await using spool = await open();
      two = await add(spool, [recipient("b@one.test"), recipient("c@two.test")]);
      one = await add(spool);
      wanted = await add(spool, [recipient("b@one.test", { notify: ["SUCCESS"] })]);
      for (const id of [two, one, wanted]) {
        await spool.dotSent(id, { recipients: [0], host: "mx.test", address: "192.0.2.1", at: ACCEPTED });
        await spool.dotAnswered(id, { recipients: [0], relayed: true });
      }
    }
    await using spool = await open();
    const summaries = await scan(spool);
    const due = new Map(summaries.map(({ id, due, unfinished }) => [id, { due, unfinished }]));
    assert.deepEqual(due.get(two), { due: [{ domain: "two.test", at: 0 }], unfinished: undefined });
    // No notice is due: the removal is completed.
    assert.equal(due.has(one), false);
    assert.deepEqual(await ids(spool), [two, wanted].sort());
    assert.deepEqual(due.get(wanted), { due: [], unfinished: true });
    assert.equal(first(await spool.load(wanted)).status, "relayed");
  });
});

Deno.test("dotAnswered() with a refusal leaves nothing to be told after a crash", async () => {
  await inDirectory(async ({ open }) => {
    let id: string;
    {
      await using spool = await open();
      id = await add(spool);
      await spool.dotSent(id, { recipients: [0], host: "mx.test", address: "192.0.2.1", at: ACCEPTED });
      await spool.dotAnswered(id, { recipients: [0], relayed: false });
    }
    await using spool = await open();
    assert.deepEqual(await spool.load(id), entryOf(id, [recipient("b@one.test")]));
  });
});

Deno.test("update() of an entry that is gone leaves nothing behind", async () => {
  await inDirectory(async ({ directory, open }) => {
    await using spool = await open();
    const id = await add(spool);
    const entry = await spool.load(id);
    assert.ok(entry);
    await Promise.all([spool.update(entry), spool.remove(id), spool.update(entry)]);
    assert.deepEqual(names(directory, "states", id.slice(-2)), []);
    assert.equal(await spool.load(id), undefined);
    await spool.remove(id);
    await spool.remove("../../etc/passwd");
    assert.equal(await spool.load("../../etc/passwd"), undefined);
    await assert.rejects(spool.open("../format"), Deno.errors.NotFound);
  });
});

Deno.test("Callers at the same time share the syncs of journal and directory", async () => {
  await inDirectory(async ({ open }) => {
    const fileSystem = new FaultyFileSystem();
    await using spool = await open({ fileSystem });
    const added = await Promise.all(Array.from({ length: 50 }, () => add(spool)));
    const directorySyncs = fileSystem.calls.filter((call) => /^sync .*\/messages\/..$/.test(call)).length;
    assert.ok(directorySyncs < 25, `${directorySyncs} syncs of the directory for 50 messages`);
    const before = fileSystem.calls.filter((call) => /^sync .*journal$/.test(call)).length;
    await Promise.all(
      added.map((id) =>
        spool.dotSent(id, { recipients: [0], host: "mx", address: "192.0.2.1", at: ACCEPTED })
      ),
    );
    const journalSyncs = fileSystem.calls.filter((call) => /^sync .*journal$/.test(call)).length - before;
    assert.ok(journalSyncs <= 2, `${journalSyncs} syncs of the journal for 50 records`);
  });
});
