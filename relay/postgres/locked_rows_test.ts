// A row of the queue that somebody has locked by hand, on a real server.
import assert from "node:assert/strict";
import { newEntry, recipient } from "../../tests/support/queue_entry.ts";
import { type PostgresServer, testsWithPostgres } from "../../tests/support/postgres_server.ts";
import { RecordingLog } from "../../tests/support/recording_log.ts";
import { until } from "../../tests/support/until.ts";
import { Database } from "./database.ts";
import { PostgresQueue } from "./postgres_queue.ts";
import { parseDatabaseUrl } from "./url.ts";

const DOT = { recipients: [0], host: "mx.one.test", address: "192.0.2.1" };

async function join(url: string): Promise<PostgresQueue> {
  return await PostgresQueue.open({
    ...{ url: parseDatabaseUrl(url), logger: new RecordingLog(), connections: 4, lease: 10_000 },
    directory: `/tmp/mailapp-test-${crypto.randomUUID()}`,
    hostname: "host.test",
    program: "test",
    needsStandby: false,
  });
}

async function addSome(queue: PostgresQueue, count: number): Promise<string[]> {
  const ids = Array.from({ length: count }, () => queue.newId());
  const message = new TextEncoder().encode("Subject: x\r\n\r\n");
  for (const id of ids) await queue.add(newEntry([recipient("a@one.test")], { id }), message);
  return ids;
}

/** Locks entries until disposed. */
function lock(server: PostgresServer, url: string, ids: readonly string[]): Promise<AsyncDisposable> {
  const named = ids.map((id) => `'${id}'`).join();
  return server.lock(
    new URL(url).pathname.slice(1),
    `SELECT FROM mailapp.entry WHERE id IN (${named}) FOR UPDATE`,
  );
}

testsWithPostgres("PostgresQueue, where a row is locked by hand,", {
  "changes all entries but the locked one, and that one later": async (server) => {
    const url = await server.newDatabase();
    await using queue = await join(url);
    const ids = await addSome(queue, 30);
    const [locked = "", ...others] = ids;
    const all = (change: (id: string) => Promise<void>) => Promise.allSettled(ids.map(change));
    const refused = (results: readonly PromiseSettledResult<void>[]) =>
      ids.filter((_, index) => results[index]?.status === "rejected");
    {
      await using _lock = await lock(server, url, [locked]);
      assert.deepEqual(refused(await all((id) => queue.dotSent(id, { ...DOT, at: 1 }))), [locked]);
      const answer = { recipients: [0], relayed: true };
      const answered = await all((id) => id === locked ? Promise.resolve() : queue.dotAnswered(id, answer));
      assert.deepEqual(refused(answered), []);
      assert.deepEqual(refused(await all((id) => queue.remove(id))), [locked]);
    }
    assert.deepEqual(await Array.fromAsync(queue.ids()), [locked]);
    await queue.dotSent(locked, { ...DOT, at: 2 });
    await queue.remove(locked);
    assert.deepEqual(await Array.fromAsync(queue.ids()), []);
    assert.equal(others.length, 29);
  },
  "gives back all entries but the locked one, and that one later": async (server) => {
    const url = await server.newDatabase();
    await using queue = await join(url);
    const ids = await addSome(queue, 10);
    const owned = async () => (await queue.peek(ids)).filter(({ host }) => host !== undefined);
    {
      await using _lock = await lock(server, url, ids.slice(0, 1));
      for (const id of ids) {
        const entry = await queue.load(id) ?? assert.fail("gone");
        assert.equal(queue.shared.giveBack(entry, 3_600_000), true);
      }
      await until(async () => (await owned()).length === 1, "all but one are free");
      assert.equal((await owned())[0]?.entry.id, ids[0]);
    }
    await until(async () => (await owned()).length === 0, "all are free");
  },
  "leaves all but the locked one to other hosts when it ends": async (server) => {
    const url = await server.newDatabase();
    const queue = await join(url);
    const ids = await addSome(queue, 3);
    await using _lock = await lock(server, url, ids.slice(0, 1));
    await queue.close();
    const free = await server.query(
      new URL(url).pathname.slice(1),
      "SELECT id FROM mailapp.entry WHERE owner IS NULL",
    );
    assert.deepEqual(free.map(({ id }) => id).sort(), ids.slice(1).sort());
  },
  "claims others while one that bears its number without its knowledge is locked": async (server) => {
    const url = await server.newDatabase();
    const [locked = "", free = ""] = await (async () => {
      await using queue = await join(url);
      return await addSome(queue, 2);
    })();
    // As after a claim whose answer was lost.
    await server.query(
      new URL(url).pathname.slice(1),
      `UPDATE mailapp.entry SET owner = (SELECT max(id) + 1 FROM mailapp.host) WHERE id = '${locked}'`,
    );
    await using _lock = await lock(server, url, [locked]);
    await using queue = await join(url);
    const offered: string[] = [];
    queue.shared.follow({
      isOpen: () => false,
      offer: ({ id }) => void offered.push(id),
      release: () => true,
      lost: () => {},
    });
    await until(() => offered.length > 0, "another is claimed");
    assert.deepEqual(offered, [free]);
    queue.shared.unfollow();
  },
});

testsWithPostgres("PostgresQueue, where the answer to a removal is lost,", {
  "finds that the entry is gone, and is content": async (server) => {
    const url = await server.newDatabase();
    await using queue = await join(url);
    const answer = { recipients: [0], relayed: true };
    for (const change of ["remove", "update"] as const) {
      const [id = ""] = await addSome(queue, 1);
      const entry = await queue.load(id) ?? assert.fail("gone");
      await queue.dotSent(id, { ...DOT, at: 1 });
      // The answer to the last dot removes it.
      await withoutAnswer(() => assert.rejects(queue.dotAnswered(id, answer)));
      assert.deepEqual(await Array.fromAsync(queue.ids()), []);
      Object.assign(entry.recipients[0] ?? {}, { status: "relayed", settled: true });
      if (change === "update") await queue.update(entry);
      await queue.remove(id);
    }
    const [id = ""] = await addSome(queue, 1);
    await withoutAnswer(() => assert.rejects(queue.remove(id)));
    await queue.remove(id);
  },
});

/** Loses the answers to what is changed meanwhile. */
async function withoutAnswer(work: () => Promise<void>): Promise<void> {
  const { run } = Database.prototype;
  Database.prototype.run = function (this: Database, statements, options) {
    return run.call(this, async (sql) => {
      await statements(sql);
      throw Object.assign(new Error("the connection is lost"), { code: "CONNECTION_CLOSED" });
    }, options) as never;
  };
  try {
    await work();
  } finally {
    Database.prototype.run = run;
  }
}
