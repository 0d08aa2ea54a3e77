import assert from "node:assert/strict";
import { silentLogger } from "../observe/log.ts";
import type { NewEntry, QueueSummary } from "./queue.ts";
import type { QueueRecipient } from "./queue_entry.ts";
import { Spool } from "./spool.ts";

function recipient(address: string, changes: Partial<QueueRecipient> = {}): QueueRecipient {
  return {
    address,
    domain: address.slice(address.lastIndexOf("@") + 1),
    status: "pending",
    attemptCount: 0,
    attempts: [],
    nextAttemptAt: 0,
    delayNotified: false,
    settled: false,
    ...changes,
  };
}
function newEntry(id: string, message: Uint8Array, recipients: QueueRecipient[]): NewEntry {
  return {
    id,
    acceptedAt: 1_795_000_000_000,
    reversePath: "a@sender.test",
    body: "7BIT",
    smtputf8: false,
    size: message.length,
    content: { eightBitHeader: false, eightBitBody: false },
    recipients,
  };
}
async function scanAll(spool: Spool): Promise<QueueSummary[]> {
  return await Array.fromAsync(spool.scan());
}
async function read(spool: Spool, id: string): Promise<string> {
  await using message = await spool.open(id);
  const bytes: number[] = [];
  for await (const chunk of message.chunks()) bytes.push(...chunk);
  assert.equal(bytes.length, message.size);
  return new TextDecoder("latin1").decode(new Uint8Array(bytes));
}
const message = new TextEncoder().encode("Subject: x\r\n\r\nHello\r\n");

Deno.test("Spool keeps an entry and its message over a restart", async () => {
  const directory = await Deno.makeTempDir();
  let id: string;
  {
    await using spool = await Spool.open({ directory, logger: silentLogger });
    id = spool.newId();
    await spool.add(
      newEntry(id, message, [recipient("b@one.test"), recipient("c@two.test", { nextAttemptAt: 7 })]),
      message,
    );
    assert.equal((await scanAll(spool)).length, 1);
  }
  await using spool = await Spool.open({ directory, logger: silentLogger });
  assert.deepEqual(await scanAll(spool), [{
    id,
    acceptedAt: 1_795_000_000_000,
    due: [{ domain: "one.test", at: 0 }, { domain: "two.test", at: 7 }],
  }]);
  assert.equal(await read(spool, id), "Subject: x\r\n\r\nHello\r\n");
  const entry = await spool.load(id);
  assert.ok(entry);
  assert.ok(entry.recipients[0]);
  entry.recipients[0].status = "relayed";
  await spool.update(entry);
  assert.deepEqual(await spool.load(id), entry);
  await spool.remove(id);
  assert.equal(await spool.load(id), undefined);
});
