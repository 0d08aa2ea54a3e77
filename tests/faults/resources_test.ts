// A disk that is really full, and descriptors that really run out: refused for now, nothing left behind, and on again
// as soon as there is room, by the same process.
import assert from "node:assert/strict";
import { join } from "@std/path";
import { Dialogue } from "../support/dialogue.ts";
import { ONE_AND_SEVERAL, withThreads, Workspace } from "../support/mailapp.ts";
import { testWith } from "../support/requires.ts";
import { freeSpace } from "../../storage/free_space.ts";
import { checkedMessage, names, submit } from "./checked_message.ts";
import { run } from "./disk.ts";
import { acquainted, asRoot, deliverOne, Mail, sendOne, serveIn } from "./setting.ts";

const KIB = 1024;
const ROOM = 4096 * KIB;
const NO_ROOM = /^452 4\.3\.1 /;

/** A separate file system, of 4 MiB. Disposed, it is unmounted. */
class SmallDisk implements AsyncDisposable {
  readonly #path: string;

  private constructor(path: string) {
    this.#path = path;
  }

  static async mount(path: string): Promise<SmallDisk> {
    await Deno.mkdir(path, { recursive: true });
    await run("mount", "-t", "tmpfs", "-o", `size=${ROOM},mode=0750`, "mailapp-test", path);
    return new SmallDisk(path);
  }

  /** Fills it until only this many octets are free; a multiple of a page. */
  async fill({ leave }: { readonly leave: number }): Promise<void> {
    using file = await Deno.open(join(this.#path, "ballast"), { create: true, write: true, truncate: true });
    const page = new Uint8Array(4 * KIB);
    try {
      for (;;) await file.write(page);
    } catch (error) {
      assert.match(String(error), /No space left/);
    }
    await file.truncate((await file.stat()).size - leave);
  }

  /** Octets that are free. */
  async free(): Promise<number> {
    return await freeSpace(this.#path);
  }

  /** Makes room again. */
  async empty(): Promise<void> {
    await Deno.remove(join(this.#path, "ballast"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run("umount", "--lazy", this.#path);
  }
}

for (const threads of ONE_AND_SEVERAL) {
  testWith(
    asRoot("mount"),
    `serve-in on a full disk refuses with 452 and stores again when there is room${withThreads(threads)}`,
    async (t) => {
      await using workspace = await Workspace.create();
      await using disk = await SmallDisk.mount(workspace.file("mail"));
      const { server, port } = await serveIn(await workspace.configure({ "serve-in": { threads } }));
      await using _ = server;
      const mail = new Mail(workspace);
      const users = ["alice", "bob"];
      const to = users.map((user) => `${user}@example.com`);
      await deliverOne(port, { mail, users, octets: 2_000 });
      for (const user of users) mail.clear(user);
      const cases = [
        { name: "not a page is left", leave: 0, octets: 2_000 },
        { name: "there is room for one of two copies", leave: 16 * KIB, octets: 10_000 },
        { name: "half of a staged message fits", leave: 400 * KIB, octets: 400_000 },
      ];
      for (const { name, leave, octets } of cases) {
        await t.step(name, async () => {
          await disk.fill({ leave });
          assert.match((await sendOne(port, { to, octets })).reply, NO_ROOM);
          for (const user of users) {
            assert.deepEqual(mail.stored(user), []);
            assert.deepEqual(mail.tmp(user), []);
          }
          await disk.empty();
          await deliverOne(port, { mail, users, octets, patient: true });
          for (const user of users) mail.clear(user);
        });
      }
      assert.equal(await server.stop(), 0);
    },
  );
}

testWith(
  asRoot("mount"),
  "serve-in refuses with 452 a large message that it has no room to wait for",
  async () => {
    await using workspace = await Workspace.create();
    await using disk = await SmallDisk.mount(workspace.file("state"));
    const { server, port } = await serveIn(await workspace.configure());
    await using _ = server;
    const mail = new Mail(workspace);
    // For one mailbox it would not have to wait.
    const to = ["alice@example.com", "bob@example.com"];
    await disk.fill({ leave: 100 * KIB });
    assert.match((await sendOne(port, { to, octets: 600_000 })).reply, NO_ROOM);
    for (const user of ["alice", "bob"]) assert.deepEqual(mail.stored(user), []);
    assert.deepEqual(names(mail.incoming), []);
    await deliverOne(port, { mail, users: ["alice"], octets: 2_000 });
    await disk.empty();
    await deliverOne(port, { mail, users: ["alice", "bob"], octets: 600_000, patient: true });
    assert.equal(await server.stop(), 0);
  },
);

testWith(
  asRoot("mount"),
  "serve-in refuses at MAIL while there is less room than min_free_space",
  async () => {
    await using workspace = await Workspace.create();
    await using disk = await SmallDisk.mount(workspace.file("mail"));
    const config = await workspace.configure({ "serve-in": { min_free_space: `${2 * KIB}KiB` } });
    const { server, port } = await serveIn(config);
    await using _ = server;
    const mail = new Mail(workspace);
    await disk.fill({ leave: 2 * KIB * KIB - 4 * KIB });
    using dialogue = await Dialogue.connect(port);
    await dialogue.hear();
    await dialogue.say("EHLO client.test");
    assert.match(await dialogue.say("MAIL FROM:<a@client.test>"), NO_ROOM);
    const event = await server.event("storage.low_space");
    assert.equal(event["level"], "warn");
    assert.equal(event["path"], workspace.file("mail"));
    assert.equal(event["free"], 2 * KIB * KIB - 4 * KIB);
    assert.equal(event["min_free_space"], 2 * KIB * KIB);
    await disk.empty();
    // The server looks once a second; until then it says the same, and never worse.
    let reply = "";
    for (let tries = 0; !reply.startsWith("250"); tries++) {
      assert.ok(tries < 10_000, "the room is never seen");
      using again = await Dialogue.connect(port);
      await again.hear();
      await again.say("EHLO client.test");
      reply = await again.say("MAIL FROM:<a@client.test> SIZE=1000000");
      assert.match(reply, /^(?:250 |452 4\.3\.1 )/);
    }
    // Room enough for a message, but not for this one.
    using other = await Dialogue.connect(port);
    await other.hear();
    await other.say("EHLO client.test");
    assert.match(await other.say("MAIL FROM:<a@client.test> SIZE=3000000"), NO_ROOM);
    await deliverOne(port, { mail, users: ["alice"], octets: 2_000, patient: true });
    assert.equal(await server.stop(), 0);
  },
);

testWith(
  asRoot("mount"),
  "serve-in keeps min_free_space however large a message is and however many copies it has",
  async () => {
    await using workspace = await Workspace.create();
    await using disk = await SmallDisk.mount(workspace.file("mail"));
    const config = await workspace.configure({ "serve-in": { min_free_space: `${2 * KIB}KiB` } });
    const { server, port } = await serveIn(config);
    await using _ = server;
    const mail = new Mail(workspace);
    const to = ["alice@example.com", "bob@example.com"];
    const users = ["alice", "bob"];
    // One copy would leave the reserve, two would not; in memory, and beyond it.
    for (const octets of [200_000, 700_000]) {
      await disk.fill({ leave: 2 * KIB * KIB + 4 * KIB * Math.ceil(1.5 * octets / (4 * KIB)) });
      assert.match((await sendOne(port, { to, octets })).reply, NO_ROOM);
      for (const user of users) {
        assert.deepEqual(mail.stored(user), []);
        assert.deepEqual(mail.tmp(user), []);
      }
      await deliverOne(port, { mail, users: ["alice"], octets, patient: true });
      assert.ok(await disk.free() >= 2 * KIB * KIB, `${await disk.free()} octets are left`);
      mail.clear("alice");
      await disk.empty();
    }
    // Several at once have no room together.
    await disk.fill({ leave: 2 * KIB * KIB + 1000 * KIB });
    const replies = await Promise.all(
      Array.from({ length: 6 }, () => sendOne(port, { to: ["alice@example.com"], octets: 300_000 })),
    );
    const accepted = replies.filter(({ reply }) => reply.startsWith("250")).length;
    assert.ok(accepted >= 1 && accepted <= 3, `${accepted} were accepted`);
    for (const { reply } of replies) assert.match(reply, /^(?:250 |452 4\.3\.1 )/);
    assert.ok(await disk.free() >= 2 * KIB * KIB, `${await disk.free()} octets are left`);
    assert.equal(await server.stop(), 0);
  },
);

testWith(
  ["prlimit"],
  "serve-in without a descriptor left refuses for now, and goes on when it has some",
  async () => {
    await using workspace = await Workspace.create();
    const { server, port } = await serveIn(await workspace.configure());
    await using _ = server;
    const mail = new Mail(workspace);
    // Twice: a mailbox that is new is tried at the next RCPT, which would be refused there.
    await deliverOne(port, { mail, users: ["alice"], octets: 2_000 });
    using first = await acquainted(port, { mail, users: ["alice"] });
    const limit = (soft: string) => run("prlimit", "--pid", String(server.pid), `--nofile=${soft}:`);
    await limit("1");
    using second = await Dialogue.connect(port);
    assert.match(String((await server.event("accept.failed"))["error"]), /Too many open files/);
    assert.match(await first.say("NOOP"), /^250 /);
    const to = ["alice@example.com"];
    assert.match(await submit(first, checkedMessage("small", 2_000), { to }), /^451 4\.3\.0 /);
    assert.match(await first.say("RCPT TO:<alice@example.com>"), /^503 /);
    assert.equal(mail.stored("alice").length, 2);
    assert.deepEqual(mail.tmp("alice"), []);

    await limit("1024");
    await server.event("accept.recovered");
    assert.match(await second.hear(), /^220 /);
    assert.match(await submit(first, checkedMessage("again", 2_000), { to }), /^250 2\.0\.0 /);
    await deliverOne(port, { mail, users: ["alice"], octets: 400_000 });
    assert.equal(await server.stop(), 0);
  },
);

testWith(["prlimit"], "serve-in with few descriptors pauses accepting until clients leave", async () => {
  await using workspace = await Workspace.create();
  const { server, port } = await serveIn(
    await workspace.configure({ "serve-in": { max_connections_per_ip: 200 } }),
    {
      through: ["prlimit", "--nofile=80"],
    },
  );
  await using _ = server;
  const mail = new Mail(workspace);
  using clients = new DisposableStack();
  let full = false;
  const failed = server.event("accept.failed").then(() => full = true);
  for (let count = 0; !full; count++) {
    assert.ok(count < 1_000, "descriptors never run out");
    const client = clients.use(await Dialogue.connect(port));
    const greeted = client.hear();
    await Promise.race([greeted, failed]);
    greeted.catch(() => {});
  }
  // They wait in the kernel's queue.
  for (let client = 0; client < 10; client++) clients.use(await Dialogue.connect(port));
  clients.dispose();
  await server.event("accept.recovered");
  await deliverOne(port, { mail, users: ["alice", "bob"], octets: 2_000 });
  await deliverOne(port, { mail, users: ["alice", "bob"], octets: 400_000 });
  assert.equal(await server.stop(), 0);
});
