import assert from "node:assert/strict";
import { silentLogger } from "../../base/log.ts";
import { type CrashPoint, PowerLossFileSystem, restore } from "../../tests/support/power_loss.ts";
import { newEntry } from "../../tests/support/queue_entry.ts";
import { unsyncedFileSystem } from "../../tests/support/unsynced_file_system.ts";
import type { QueueEntry } from "../queue_entry.ts";
import { IntakeQueue } from "./intake_queue.ts";
import { Spool } from "./spool.ts";

/** What the spool has said is done, and what it has been told to begin. */
interface Facts {
  added: string[];
  sent: string[];
  answering: string[];
  relayed: string[];
  updated: string[];
  removing: string[];
  removed: string[];
}

const encoder = new TextEncoder();
const messages = new Map<string, string>();

async function add(spool: Spool | IntakeQueue, text: string): Promise<string> {
  const id = spool.newId();
  messages.set(id, text);
  await using draft = spool.begin(id);
  await draft.write(encoder.encode(text));
  await draft.commit(
    newEntry(["b@one.test", "c@two.test"], { id, acceptedAt: 1 }),
    encoder.encode("Received: x\r\n"),
  );
  return id;
}

/** Everything that can happen to messages, with a crash point after each step of it. */
async function live(directory: string): Promise<{ point: CrashPoint; facts: Facts }[]> {
  const facts: Facts = {
    added: [],
    sent: [],
    answering: [],
    relayed: [],
    updated: [],
    removing: [],
    removed: [],
  };
  const points: { point: CrashPoint; facts: Facts }[] = [];
  const fileSystem = new PowerLossFileSystem(
    directory,
    (point) => points.push({ point, facts: structuredClone(facts) }),
  );
  await using spool = await Spool.open({
    directory,
    logger: silentLogger,
    fileSystem,
    maxInMemory: 16 * 1024,
    intakeThreads: 2,
  });
  const small = await add(spool, "A: small\r\n\r\n1\r\n");
  facts.added.push(small);
  const large = await add(spool, `A: large\r\n\r\n${"0123456789abcdef".repeat(5000)}\r\n`);
  facts.added.push(large);
  for (const id of [small, large]) {
    await spool.dotSent(id, { recipients: [0], host: "mx.one.test", address: "192.0.2.1", at: 5 });
    facts.sent.push(id);
  }
  facts.answering.push(small);
  await spool.dotAnswered(small, { recipients: [0], relayed: true });
  facts.relayed.push(small);
  const entry = await spool.load(small);
  assert.ok(entry?.recipients[1]);
  entry.recipients[1].status = "failed";
  entry.recipients[1].attempts = [{ at: 6, host: "mx.two.test", reply: "550 no", status: "5.1.1" }];
  await spool.update(entry);
  facts.updated.push(small);
  const short = await add(spool, "A: short-lived\r\n\r\n2\r\n");
  facts.added.push(short);
  for (const id of [short, small]) {
    facts.removing.push(id);
    await spool.remove(id);
    facts.removed.push(id);
  }
  // Into the files of those that have left, which are free to be written some moments after; a shorter and a longer one.
  for (const text of ["3", "A: longer\r\n\r\nthan what was there before\r\n"]) {
    const reused = points.length;
    const isReused = () => points.slice(reused).some(({ point }) => point.step.startsWith("rename spare/"));
    for (let tries = 0; !isReused(); tries++) {
      assert.ok(tries < 1000, "no file is written again");
      const id = await add(spool, text);
      facts.added.push(id);
      facts.removing.push(id);
      await spool.remove(id);
      facts.removed.push(id);
    }
  }
  facts.added.push(await add(spool, "A: last\r\n\r\n4\r\n"));
  const intake = new IntakeQueue({
    share: spool.intakeShare(),
    thread: 0,
    enter: async (finished) => (await spool.enterFrom(0, structuredClone(finished))).entered,
    fileSystem,
  });
  for (const text of ["A: from another thread\r\n\r\n5\r\n", `A: large\r\n\r\n${"x".repeat(400_000)}\r\n`]) {
    facts.added.push(await add(intake, text));
  }
  await spool.close();
  return points.slice();
}

async function read(spool: Spool, id: string): Promise<string> {
  await using message = await spool.open(id);
  let text = "";
  for await (const chunk of message.chunks()) text += new TextDecoder().decode(chunk);
  return text;
}

async function check(directory: string, facts: Facts): Promise<void> {
  await using spool = await Spool.open({ directory, logger: silentLogger, fileSystem: unsyncedFileSystem });
  assert.deepEqual([...Deno.readDirSync(`${directory}/incoming`)], []);
  await Array.fromAsync(spool.scan());
  assert.deepEqual([...Deno.readDirSync(`${directory}/damaged`)], [], "nothing is damaged by a crash");
  const entries = new Map<string, QueueEntry>();
  for await (const id of spool.ids()) {
    const entry = await spool.load(id);
    // A removal that the scan has taken up may end just now.
    if (entry === undefined) continue;
    entries.set(id, entry);
    assert.equal(await read(spool, id), `Received: x\r\n${messages.get(id)}`);
  }
  for (const id of facts.added) {
    if (!facts.removing.includes(id)) assert.ok(entries.has(id), "what was accepted is there");
  }
  for (const id of facts.removed) assert.equal(entries.has(id), false, "what was removed stays away");
  for (const [id, { recipients }] of entries) {
    const [first, second] = recipients;
    if (facts.relayed.includes(id)) {
      assert.equal(first?.status, "relayed", "what was relayed is not sent again");
    }
    if (facts.sent.includes(id) && !facts.answering.includes(id)) {
      assert.equal(first?.status, "pending");
      assert.equal(first.attempts.at(-1)?.dotSentNoReply, true, "the dot without a reply is shown");
      assert.equal(first.attemptCount, 1);
      assert.equal(first.nextAttemptAt, 60_005, "and not sent again at once");
    }
    if (facts.updated.includes(id)) assert.equal(second?.status, "failed", "the state is the one written");
  }
}

Deno.test("Spool loses nothing and doubles nothing, wherever it is killed or loses power", async () => {
  const directory = await Deno.makeTempDir();
  const points = await live(directory);
  assert.ok(points.length > 30);
  for (const { point, facts } of points) {
    for (const kind of ["killed", "nothingUnsynced", "namesOnly"] as const) {
      const remains = await restore(point[kind]);
      try {
        await check(remains, facts);
      } catch (cause) {
        throw new Error(`${kind} after: ${point.step}: ${cause}`, { cause });
      }
      await Deno.remove(remains, { recursive: true });
    }
  }
  await Deno.remove(directory, { recursive: true });
});
