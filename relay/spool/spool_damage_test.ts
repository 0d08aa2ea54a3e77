import assert from "node:assert/strict";
import { join } from "@std/path";
import { recipient } from "../../tests/support/queue_entry.ts";
import {
  add,
  first,
  ids,
  inDirectory,
  messageFile,
  names,
  read,
  scan,
  stateFile,
} from "../../tests/support/spool.ts";

const encoder = new TextEncoder();

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
