// A maildrop, what programs leave in it, and what hostile accounts do.
import assert from "node:assert/strict";
import { join } from "@std/path";
import { silentLogger } from "../../base/log.ts";
import { replyText } from "../../smtp/reply_reader.ts";
import type { RecipientResult } from "../../smtp/send_result.ts";
import { FakeClock } from "../../tests/support/fake_clock.ts";
import { RecordingLog } from "../../tests/support/recording_log.ts";
import { testWith } from "../../tests/support/requires.ts";
import { MAILDROP_MODE, makeMaildrop } from "./directory.ts";
import { DropError, dropMessage } from "./drop.ts";
import type { DroppedHead } from "./dropped_head.ts";
import { MaildropPickup, type PickupOptions, type Refused } from "./pickup.ts";

const HEAD: DroppedHead = { sender: "alice", recipients: ["b@x.test", "c@x.test"] };
const TEXT = "From: alice\r\n\r\nHi\r\n";

interface Taken {
  readonly sender: string;
  readonly recipients: readonly string[];
  readonly text: string;
  readonly uid: number;
}

const relayed: RecipientResult = { kind: "relayed", reply: { code: 250, lines: ["ok"] } };
const refused = (code: number): RecipientResult => ({
  kind: "refused",
  stage: "rcpt",
  reply: { code, lines: ["no"] },
});

/** A maildrop, and a server that answers for each recipient. */
class World implements AsyncDisposable {
  readonly directory = join(Deno.makeTempDirSync(), "maildrop");
  readonly taken: Taken[] = [];
  readonly notices: Refused[][] = [];
  readonly log = new RecordingLog();
  readonly clock = new FakeClock(Date.now());
  answer: (address: string) => RecipientResult = () => relayed;
  busy = false;

  async drop(changes: Partial<DroppedHead> = {}, text = TEXT): Promise<string> {
    await makeMaildrop(this.directory);
    const before = new Set(this.names());
    await dropMessage({ ...HEAD, ...changes }, new TextEncoder().encode(text), {
      directory: this.directory,
      minFreeSpace: 0,
      syncDirectory: () => Promise.resolve(),
    });
    return this.names().find((name) => !before.has(name)) ?? assert.fail();
  }

  names(): string[] {
    return [...Deno.readDirSync(this.directory)].map(({ name }) => name).sort();
  }

  at(name: string): string {
    return join(this.directory, name);
  }

  pickup(options: Partial<PickupOptions> = {}): MaildropPickup {
    return new MaildropPickup({
      directory: this.directory,
      handOver: async ({ sender, recipients, size, chunks }, { uid }) => {
        if (this.busy) throw new Error("421 busy");
        const text = await new Response(ReadableStream.from(chunks())).text();
        assert.equal(text.length, size);
        const results = recipients.map((address) => this.answer(address));
        const accepted = recipients.filter((_, index) => results[index]?.kind === "relayed");
        if (accepted.length > 0) this.taken.push({ sender, recipients: accepted, text, uid });
        return results;
      },
      notify: (_message, refused) => Promise.resolve(void this.notices.push([...refused])),
      accountName: (uid) => uid === Deno.uid() ? "me" : undefined,
      clock: this.clock,
      logger: this.log,
      ...options,
    });
  }

  async poll(): Promise<void> {
    await this.pickup().poll();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(join(this.directory, ".."), { recursive: true });
  }
}

Deno.test("MaildropPickup takes what was dropped, once, and says whose it was", async () => {
  await using world = new World();
  await world.drop();
  await world.drop({ sender: "", recipients: ["d@x.test"] });
  await world.poll();
  await world.poll();
  const uid = Deno.uid();
  assert.deepEqual(world.taken.sort((a, b) => a.recipients.length - b.recipients.length), [
    { sender: "", recipients: ["d@x.test"], text: TEXT, uid },
    { sender: "alice", recipients: ["b@x.test", "c@x.test"], text: TEXT, uid },
  ]);
  assert.deepEqual(world.names(), []);
  const [event] = world.log.named("maildrop.accepted");
  assert.deepEqual([event?.fields["uid"], event?.fields["account"]], [uid, "me"]);
});

Deno.test("dropMessage() leaves nothing where there is no maildrop, or no room", async () => {
  await using world = new World();
  const drop = (options: { readonly minFreeSpace?: number; readonly fails?: boolean } = {}) =>
    dropMessage(HEAD, new Uint8Array(10), {
      directory: world.directory,
      minFreeSpace: options.minFreeSpace ?? 0,
      syncDirectory: () => options.fails ? Promise.reject(new Error("EIO")) : Promise.resolve(),
    });
  await assert.rejects(drop(), DropError);
  await Deno.mkdir(world.directory, { mode: 0o700 });
  await assert.rejects(drop(), /has mode 700 instead of 3733/);
  await makeMaildrop(world.directory);
  assert.equal((Deno.statSync(world.directory).mode ?? 0) & 0o7777, MAILDROP_MODE);
  await assert.rejects(drop({ minFreeSpace: 2 ** 60 }), /too little free space/);
  await assert.rejects(drop({ fails: true }), DropError);
  assert.deepEqual(world.names(), []);
});

Deno.test("dropMessage() leaves nothing where one of several files cannot be made durable", async () => {
  await using world = new World();
  const { directory } = world;
  await makeMaildrop(directory);
  const recipients = Array.from({ length: 2001 }, (_, i) => `r${i}@y.test`);
  let seen: unknown;
  await assert.rejects(
    dropMessage({ ...HEAD, recipients }, new Uint8Array(10), {
      directory,
      minFreeSpace: 0,
      syncDirectory: () => {
        seen = world.names().map((name) => (Deno.statSync(join(directory, name)).mode ?? 0) & 0o777);
        return Promise.reject(new Error("no sync"));
      },
    }),
    DropError,
  );
  assert.deepEqual(seen, [0o640, 0o640, 0o640]);
  assert.deepEqual(world.names(), []);
});

Deno.test("MaildropPickup leaves a message where it is while the server takes none", async () => {
  await using world = new World();
  await world.drop();
  world.busy = true;
  await world.poll();
  assert.equal(world.names().length, 1);
  assert.equal(world.log.named("maildrop.deferred").length, 1);
  world.busy = false;
  await world.poll();
  assert.equal(world.taken.length, 1);
});

Deno.test("MaildropPickup sends no second copy where only some could be taken, over a restart", async () => {
  await using world = new World();
  const name = await world.drop({ recipients: ["b@x.test", "later@x.test"] });
  world.answer = (address) => address.startsWith("later") ? refused(452) : relayed;
  await world.poll();
  await world.poll();
  assert.deepEqual(world.names(), [name, `${name}.done`]);
  world.answer = () => relayed;
  await world.poll();
  assert.deepEqual(world.taken.map(({ recipients }) => recipients), [["b@x.test"], ["later@x.test"]]);
  assert.deepEqual(world.names(), []);
});

Deno.test("MaildropPickup tells the sender which recipients the server refuses, and sends no notice without a sender", async () => {
  await using world = new World();
  world.answer = (address) => address.startsWith("no") ? refused(550) : relayed;
  await world.drop({ recipients: ["b@x.test", "no@x.test"] });
  await world.drop({ sender: "", recipients: ["no@x.test"] });
  await world.poll();
  assert.deepEqual(world.taken.length, 1);
  assert.deepEqual(
    world.notices.map((notice) => notice.map(({ address, result }) => [address, replyText(result.reply)])),
    [[["no@x.test", "550 no"]]],
  );
  assert.equal(world.log.named("maildrop.refused").length, 2);
  assert.deepEqual(world.names(), []);
});

Deno.test("MaildropPickup sends no second copy where the sender cannot be told, nor the progress be written", async () => {
  for (const writable of [true, false]) {
    await using world = new World();
    const name = await world.drop({ recipients: ["b@x.test", "no@x.test"] });
    // Its owner can make it, and fill it.
    if (!writable) await Deno.mkdir(join(world.at(`${name}.done`), "x"), { recursive: true });
    world.answer = (address) => address.startsWith("no") ? refused(550) : relayed;
    let told = 0;
    const pickup = world.pickup({
      notify: () => ++told < 3 ? Promise.reject(new Error("452 no room")) : Promise.resolve(),
    });
    for (let looks = 0; looks < 4; looks++) await pickup.poll();
    assert.deepEqual([told, world.taken.map(({ recipients }) => recipients)], [3, [["b@x.test"]]]);
    assert.deepEqual(world.names(), writable ? [] : [`${name}.done`]);
    assert.equal(world.log.named("maildrop.not_noted").length, writable ? 0 : 1);
  }
});

Deno.test("MaildropPickup takes a message after any number that are not whole or that the server puts off", async () => {
  await using world = new World();
  await makeMaildrop(world.directory);
  for (let count = 0; count < 1500; count++) {
    await Deno.writeTextFile(world.at(crypto.randomUUID().replaceAll("-", "")), "", { mode: 0o600 });
  }
  world.answer = (address) => address.startsWith("later") ? refused(452) : relayed;
  for (let count = 0; count < 9; count++) await world.drop({ recipients: ["later@x.test"] });
  for (let count = 0; count < 9; count++) await world.drop({ recipients: ["b@x.test"] });
  await world.poll();
  assert.equal(world.taken.length, 9);
  // What remains is no reason to look seldom.
  assert.equal(world.log.named("maildrop.deferred").length, 1);
});

testWith(
  Deno.uid() === 0 ? [] : ["root"],
  "MaildropPickup leaves the messages of an account alone of which the server has put off ten, and of no other",
  async () => {
    await using world = new World();
    let asked = 0;
    world.answer = (address) => {
      if (!address.startsWith("later")) return relayed;
      asked++;
      return refused(452);
    };
    for (let count = 0; count < 50; count++) {
      await Deno.chown(world.at(await world.drop({ recipients: ["later@x.test"] })), 12345, null);
    }
    for (let count = 0; count < 50; count++) await world.drop({ recipients: ["b@x.test"] });
    await world.poll();
    assert.deepEqual([asked, world.taken.length], [10, 50]);
  },
);

Deno.test("MaildropPickup takes nothing that is not whole, and removes it a day and a half later", async () => {
  await using world = new World();
  const name = await world.drop();
  await Deno.chmod(world.at(name), 0o600);
  await world.poll();
  await world.clock.advance(35 * 3_600_000);
  await world.poll();
  assert.deepEqual([world.names(), world.taken], [[name], []]);
  await world.clock.advance(2 * 3_600_000);
  await world.poll();
  assert.deepEqual([world.names(), world.taken], [[], []]);
  assert.match(String(world.log.named("maildrop.removed")[0]?.fields["reason"]), /never finished/);
});

testWith(
  ["mkfifo"],
  "MaildropPickup follows no link, waits for no FIFO, takes no file that is elsewhere too, and removes them",
  async () => {
    await using world = new World();
    await makeMaildrop(world.directory);
    const name = (digit: string) => digit.repeat(32);
    const secret = join(world.directory, "..", "secret");
    await Deno.writeTextFile(secret, `${JSON.stringify({ version: 1, ...HEAD })}\n${TEXT}`, { mode: 0o640 });
    await Deno.chmod(secret, 0o640);
    await Deno.symlink(secret, world.at(name("1")));
    await Deno.link(secret, world.at(name("2")));
    await new Deno.Command("mkfifo", { args: ["-m", "640", world.at(name("3"))] }).output();
    await Deno.mkdir(world.at(name("4")));
    await Deno.symlink("/nonexistent", world.at("link"));
    await Deno.writeTextFile(world.at("no name of ours\u001b[2J"), "");
    await Deno.writeTextFile(world.at(`${name("5")}.done`), "[]");
    // Too large, sparse; and first lines that are none.
    const write = async (digit: string, text: string | number) => {
      using file = await Deno.open(world.at(name(digit)), { write: true, createNew: true });
      if (typeof text === "number") await file.truncate(text);
      else await file.write(new TextEncoder().encode(text));
      await Deno.chmod(world.at(name(digit)), 0o640);
    };
    await write("6", 2 ** 40);
    await write("7", 1024 * 1024);
    await write("8", "");
    await write("9", "{}\n");
    await write("a", `${JSON.stringify({ version: 1, ...HEAD, recipients: ["a@b\r\nDATA"] })}\nHi`);
    // What cannot be removed is logged once, and holds up nothing.
    await Deno.mkdir(world.at("full"));
    await Deno.writeTextFile(join(world.at("full"), "x"), "");
    await world.drop();
    const pickup = world.pickup();
    await pickup.poll();
    await pickup.poll();
    assert.equal(world.taken.length, 1);
    assert.deepEqual(world.names(), ["full"]);
    assert.equal(await Deno.readTextFile(secret).then(({ length }) => length > 0), true);
    assert.equal(world.log.named("maildrop.not_removed").length, 1);
    assert.equal(world.log.named("maildrop.removed").length, 12);
  },
);

testWith(
  ["python3"],
  "MaildropPickup is held up by no file that its owner keeps others from opening",
  async () => {
    await using world = new World();
    // The first in the order of the directory, too, on any file system.
    const leased: Deno.ChildProcess[] = [];
    for (let count = 0; count < 5; count++) {
      const child = new Deno.Command("python3", {
        args: ["-c", LEASE, world.at(await world.drop({ recipients: ["leased@x.test"] }))],
        stdin: "piped",
        stdout: "piped",
      }).spawn();
      leased.push(child);
      const reader = child.stdout.getReader();
      assert.match(new TextDecoder().decode((await reader.read()).value), /^held/);
      await reader.cancel();
    }
    for (let count = 0; count < 5; count++) await world.drop({ recipients: ["b@x.test"] });
    await world.poll();
    assert.equal(world.taken.length, 5);
    for (const child of leased) {
      await child.stdin.close();
      await child.status;
    }
    await world.poll();
    assert.deepEqual([world.taken.length, world.names()], [10, []]);
  },
);

/** Holds a lease on a file, as its owner may, until standard input ends. */
const LEASE = `import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
fd = os.open(sys.argv[1], os.O_WRONLY)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
os.write(1, b"held\\n")
sys.stdin.read()
`;

Deno.test("MaildropPickup is held up by no file that its owner removes while it is taken", async () => {
  await using world = new World();
  for (let count = 0; count < 10; count++) await world.drop({ recipients: [`${count}@x.test`] });
  let taken = 0;
  const pickup = world.pickup({
    handOver: async ({ recipients }) => {
      taken++;
      for (const name of world.names()) {
        if ((await Deno.readTextFile(world.at(name))).includes(`"${recipients[0]}"`)) {
          await Deno.remove(world.at(name));
        }
      }
      return recipients.map(() => relayed);
    },
  });
  await pickup.poll();
  assert.equal(taken, 10);
});

Deno.test("MaildropPickup reads no more of a file than was there when it was opened", async () => {
  await using world = new World();
  const name = await world.drop({ recipients: ["b@x.test"] });
  const texts: string[] = [];
  const pickup = world.pickup({
    logger: silentLogger,
    handOver: async ({ chunks, recipients }) => {
      await Deno.writeTextFile(world.at(name), "and more", { append: true });
      texts.push(await new Response(ReadableStream.from(chunks())).text());
      return recipients.map(() => relayed);
    },
  });
  await pickup.poll();
  assert.deepEqual(texts, [TEXT]);
});

Deno.test("MaildropPickup looks at its start and every few seconds, and seldom while the server takes nothing", async () => {
  await using world = new World();
  await makeMaildrop(world.directory);
  let looks = 0;
  const handOver = () => {
    looks++;
    return Promise.reject(new Error("421 busy"));
  };
  await world.drop();
  {
    await using pickup = world.pickup({ handOver });
    pickup.start();
    await world.log.saw("maildrop.deferred");
    for (const [early, count] of [[9_999, 2], [19_999, 3]] as const) {
      await world.clock.advance(early);
      assert.equal(looks, count - 1);
      await world.clock.advance(1);
      await world.log.saw("maildrop.deferred", count);
    }
  }
  await world.clock.advance(3_600_000);
  assert.equal(looks, 3);
  assert.equal(world.log.named("maildrop.deferred").length, 3);
});
