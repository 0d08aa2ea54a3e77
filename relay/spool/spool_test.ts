import assert from "node:assert/strict";
import { join } from "@std/path";
import { SmtpError } from "../../smtp/reply.ts";
import { FakeClock } from "../../tests/support/fake_clock.ts";
import { FaultyFileSystem } from "../../tests/support/faulty_file_system.ts";
import { largestEntry, newEntry, recipient } from "../../tests/support/queue_entry.ts";
import { RecordingLog } from "../../tests/support/recording_log.ts";
import type { NewEntry, QueueSummary } from "../queue.ts";
import type { QueueEntry, QueueRecipient } from "../queue_entry.ts";
import { Spool, type SpoolOptions } from "./spool.ts";
import { SpoolLockedError, SpoolVersionError } from "./directory.ts";

const ACCEPTED = 1_795_000_000_000;
const MESSAGE = "Subject: x\r\n\r\nHello\r\n";
const encoder = new TextEncoder();

function entryOf(id: string, recipients: QueueRecipient[], size = MESSAGE.length): NewEntry {
  return newEntry(recipients, { id, acceptedAt: ACCEPTED, size });
}

async function add(spool: Spool, recipients = [recipient("b@one.test")], message = MESSAGE): Promise<string> {
  const id = spool.newId();
  await spool.add(entryOf(id, recipients, message.length), encoder.encode(message));
  return id;
}

async function read(spool: Spool, id: string): Promise<string> {
  await using message = await spool.open(id);
  let text = "";
  for await (const chunk of message.chunks()) text += new TextDecoder().decode(chunk);
  assert.equal(text.length, message.size);
  return text;
}

function scan(spool: Spool): Promise<QueueSummary[]> {
  return Array.fromAsync(spool.scan());
}

async function ids(spool: Spool): Promise<string[]> {
  return (await Array.fromAsync(spool.ids())).sort();
}

function first(entry: QueueEntry | undefined): QueueRecipient {
  assert.ok(entry?.recipients[0]);
  return entry.recipients[0];
}

function messageFile(directory: string, id: string): string {
  return join(directory, "messages", id.slice(-2), id);
}

function stateFile(directory: string, id: string): string {
  return join(directory, "states", id.slice(-2), `${id}.json`);
}

function names(...path: string[]): string[] {
  return [...Deno.readDirSync(join(...path))].map(({ name }) => name).sort();
}

/** Runs with a directory of its own; `open` opens the spool in it, as often as wanted. */
async function inDirectory(
  work: (
    parts: {
      directory: string;
      log: RecordingLog;
      open: (options?: Partial<SpoolOptions>) => Promise<Spool>;
    },
  ) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir();
  const log = new RecordingLog();
  try {
    await work({ directory, log, open: (options) => Spool.open({ directory, logger: log, ...options }) });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("Spool keeps an entry and its message over a restart", async () => {
  await inDirectory(async ({ open, log }) => {
    let id: string;
    {
      await using spool = await open();
      id = await add(spool, [recipient("b@one.test"), recipient("c@two.test", { nextAttemptAt: 7 })]);
    }
    await using spool = await open();
    assert.deepEqual(await scan(spool), [{
      id,
      acceptedAt: ACCEPTED,
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
    await using spool = await open({ clock, resendAfter: 5000, logger });
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
    // Nobody waits for a notice: the removal is made good.
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

Deno.test("scan() yields what is pending or unfinished, and ids() everything", async () => {
  await inDirectory(async ({ open }) => {
    await using spool = await open();
    const pending = await add(spool);
    const held = await add(spool, [recipient("b@one.test", { status: "held" })]);
    const failed = await add(spool, [recipient("b@one.test", { status: "failed" })]);
    const noticed = await add(spool, [recipient("b@one.test", { nextAttemptAt: 5, notice: "0notice0001" })]);
    const done = await add(spool, [recipient("b@one.test", { status: "expired", settled: true })]);
    assert.deepEqual(await ids(spool), [pending, held, failed, noticed, done].sort());
    const found = new Map((await scan(spool)).map((summary) => [summary.id, summary]));
    assert.deepEqual([...found.keys()].sort(), [pending, failed, noticed].sort());
    assert.deepEqual(found.get(failed), { id: failed, acceptedAt: ACCEPTED, due: [], unfinished: true });
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

Deno.test("Spool puts damaged, foreign and unknown files aside with the reason, and goes on with the others", async () => {
  const cases: readonly (readonly [string, RegExp, (path: string, text: string) => void])[] = [
    [
      "cut in the message",
      /cut short: \d+ of \d+/,
      (path, text) => Deno.writeTextFileSync(path, text.slice(0, -3)),
    ],
    [
      "cut in the head",
      /cut short: the head/,
      (path, text) => Deno.writeTextFileSync(path, text.slice(0, 50)),
    ],
    ["empty", /^empty$/, (path) => Deno.writeTextFileSync(path, "")],
    ["too long", /too long/, (path, text) => Deno.writeTextFileSync(path, text + "more")],
    [
      "a flipped bit in the head",
      /check does not match/,
      (path, text) => Deno.writeTextFileSync(path, text.replace("one.test", "ooe.test")),
    ],
    [
      "an unknown version",
      /unknown version 9/,
      (path, text) =>
        Deno.writeTextFileSync(
          path,
          text.replace('"mailapp":1', '"mailapp":9').replace(/,"check":"\w+"/, ""),
        ),
    ],
    [
      "no UTF-8",
      /not UTF-8/,
      (path, text) => Deno.writeFileSync(path, encoder.encode(text).fill(255, 20, 21)),
    ],
    ["something else", /not JSON/, (path) => Deno.writeTextFileSync(path, "#!/bin/sh\nrm\n")],
  ];
  for (const [name, reason, damage] of cases) {
    await inDirectory(async ({ directory, log, open }) => {
      let good: string, bad: string;
      {
        await using spool = await open();
        good = await add(spool);
        bad = await add(spool);
      }
      const path = messageFile(directory, bad);
      const written = Deno.statSync(path).mtime?.getTime() ?? 0;
      damage(path, Deno.readTextFileSync(path));
      // Within the same millisecond the index could not tell.
      Deno.utimeSync(path, new Date(written + 1), new Date(written + 1));
      await using spool = await open();
      assert.deepEqual((await scan(spool)).map(({ id }) => id), [good], name);
      assert.deepEqual(await ids(spool), [good]);
      assert.deepEqual(names(directory, "damaged"), [bad]);
      const logged = log.events.filter(({ event }) => event === "queue.damaged");
      assert.equal(logged.length, 1);
      assert.equal(logged[0]?.fields.file, path);
      assert.match(String(logged[0]?.fields.reason), reason, name);
    });
  }
});

Deno.test("Spool puts foreign names aside, wherever they are", async () => {
  await inDirectory(async ({ directory, open }) => {
    let id: string;
    {
      await using spool = await open();
      id = await add(spool);
    }
    const shard = id.slice(-2);
    for (
      const path of [
        ["messages", "README"],
        ["messages", shard, ".hidden"],
        ["messages", shard, `${id.slice(0, -2)}zz`],
        ["states", shard, "core"],
        ["incoming", "a file of mine"],
      ]
    ) Deno.writeTextFileSync(join(directory, ...path), "x");
    Deno.mkdirSync(join(directory, "messages", shard, "lost+found"));
    await using spool = await open();
    assert.equal((await scan(spool)).length, 1);
    assert.deepEqual(
      names(directory, "damaged"),
      [".hidden", "README", "a file of mine", "core", "lost+found", `${id.slice(0, -2)}zz`].sort(),
    );
    assert.deepEqual(names(directory, "messages", shard), [id]);
  });
});

Deno.test("Spool keeps a damaged state with its message, and what the journal knows of both", async () => {
  await inDirectory(async ({ directory, open }) => {
    let id: string;
    {
      await using spool = await open();
      id = await add(spool, [recipient("b@one.test"), recipient("c@two.test")]);
      const entry = await spool.load(id);
      assert.ok(entry);
      await spool.update(entry);
      await spool.dotAnswered(id, { recipients: [1], relayed: true });
    }
    const path = stateFile(directory, id);
    Deno.writeTextFileSync(path, Deno.readTextFileSync(path).replace("pending", "pemding"));
    {
      await using spool = await open();
      assert.deepEqual(await scan(spool), []);
    }
    assert.deepEqual(names(directory, "damaged"), [id, `${id}.journal`, `${id}.json`]);
    assert.match(
      Deno.readTextFileSync(join(directory, "damaged", `${id}.journal`)),
      /"recipients":\[1\],"relayed":true/,
    );
    // Repaired as docs/queue.md says.
    const state = Deno.readTextFileSync(join(directory, "damaged", `${id}.json`));
    Deno.writeTextFileSync(path, state.replace("pemding", "held").replace(/,\n {2}"check": "\w+"/, ""));
    Deno.renameSync(join(directory, "damaged", id), messageFile(directory, id));
    await using spool = await open();
    assert.equal(first(await spool.load(id)).status, "held");
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

Deno.test("open() never gives out the end of a message that is not what it was", async () => {
  await inDirectory(async ({ directory, log, open }) => {
    await using spool = await open();
    const id = await add(spool, undefined, `A: b\r\n\r\n${"x".repeat(300_000)}\r\n`);
    const path = messageFile(directory, id);
    Deno.writeTextFileSync(path, Deno.readTextFileSync(path).replace("xxx", "xyx"));
    await using message = await spool.open(id);
    let octets = 0;
    await assert.rejects(async () => {
      for await (const chunk of message.chunks()) octets += chunk.length;
    }, /does not match its check/);
    assert.ok(octets < message.size);
    assert.equal(await spool.load(id), undefined);
    assert.deepEqual(names(directory, "damaged"), [id]);
    assert.equal(log.events.filter(({ event }) => event === "queue.damaged").length, 1);
  });
});

Deno.test("Spool takes a message that was edited by hand, with its checks taken out", async () => {
  await inDirectory(async ({ directory, open }) => {
    let id: string;
    {
      await using earlier = await open();
      id = await add(earlier);
    }
    await using spool = await open();
    const path = messageFile(directory, id);
    const edited = Deno.readTextFileSync(path).replace(/,"message":"\w+","check":"\w+"/, "")
      .replace("b@one.test", "c@one.test").replace("Hello", "Good evening");
    Deno.writeTextFileSync(path, edited);
    assert.equal(await read(spool, id), "Subject: x\r\n\r\nGood evening\r\n");
    assert.equal(first(await spool.load(id)).address, "c@one.test");
  });
});

Deno.test("Spool puts a copy of a damaged journal aside, and takes what is whole of it", async () => {
  await inDirectory(async ({ directory, log, open }) => {
    let id: string;
    {
      await using spool = await open();
      id = await add(spool, [recipient("b@one.test"), recipient("c@one.test"), recipient("d@one.test")]);
      for (const recipients of [[0], [1], [2]]) await spool.dotAnswered(id, { recipients, relayed: true });
    }
    const path = join(directory, "journal");
    const text = Deno.readTextFileSync(path);
    // The second line hit, the third cut short by the crash.
    Deno.writeTextFileSync(path, text.replace('"recipients":[1]', '"recipients":[2]').slice(0, -5));
    {
      await using spool = await open();
      assert.deepEqual((await spool.load(id))?.recipients.map(({ status }) => status), [
        "relayed",
        "pending",
        "pending",
      ]);
    }
    assert.deepEqual(names(directory, "damaged"), ["journal"]);
    assert.match(
      String(log.events.find(({ event }) => event === "queue.damaged")?.fields.reason),
      /^line 2: /,
    );
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
    while (!fileSystem.calls.some((call) => call.startsWith("rename "))) {
      await new Promise((r) => setTimeout(r, 1));
    }
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
    while (names(directory, "spare").length > 0) await new Promise((resolve) => setTimeout(resolve, 1));
    assert.ok(log.events.some(({ event }) => event === "queue.not_removed"));
    fileSystem.fault = () => undefined;
  });
});

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
