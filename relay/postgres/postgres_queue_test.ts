// The queue in PostgreSQL, on a real server.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import type { QueueSummary } from "../queue.ts";
import type { QueueEntry } from "../queue_entry.ts";
import { newEntry, recipient } from "../../tests/support/queue_entry.ts";
import { type PostgresServer, testsWithPostgres } from "../../tests/support/postgres_server.ts";
import { RecordingLog } from "../../tests/support/recording_log.ts";
import { until as waitUntil } from "../../tests/support/until.ts";
import { PostgresQueue } from "./postgres_queue.ts";
import type { PostgresQueueOptions } from "./queue_options.ts";
import { parseDatabaseUrl } from "./url.ts";

const MESSAGE = "Subject: x\r\n\r\nHello\r\n";

function until(holds: () => boolean): Promise<void> {
  return waitUntil(holds, String(holds));
}

/** One host of a queue, with what it was offered. */
class Host implements AsyncDisposable {
  readonly offers: QueueSummary[] = [];
  readonly open = new Set<string>();
  losses = 0;
  private constructor(readonly queue: PostgresQueue, readonly log: RecordingLog) {}

  static async join(url: string, options: Partial<PostgresQueueOptions> = {}): Promise<Host> {
    const log = new RecordingLog();
    const queue = await PostgresQueue.open({
      url: parseDatabaseUrl(url),
      directory: `/tmp/mailapp-test-${crypto.randomUUID()}`,
      hostname: "host.test",
      program: "test",
      logger: log,
      lease: 10_000,
      needsStandby: false,
      connections: 4,
      ...options,
    });
    return new Host(queue, log);
  }

  follow(): void {
    this.queue.shared.follow({
      offer: (summary) => void this.offers.push(summary),
      lost: () => void this.losses++,
      release: (id) => !this.open.has(id),
      isOpen: (id) => this.open.has(id),
    });
  }

  async add(
    addresses: readonly string[] = ["b@one.test"],
    options: Partial<QueueEntry> = {},
  ): Promise<string> {
    const id = this.queue.newId();
    const entry = newEntry(addresses.map((address) => recipient(address)), {
      id,
      acceptedAt: Date.now(),
      ...options,
    });
    await this.queue.add(entry, new TextEncoder().encode(MESSAGE));
    return id;
  }

  async load(id: string): Promise<QueueEntry> {
    return await this.queue.load(id) ?? assert.fail(`no entry ${id}`);
  }

  async text(id: string): Promise<string> {
    await using message = await this.queue.open(id);
    let text = "";
    for await (const chunk of message.chunks()) text += Buffer.from(chunk).toString("latin1");
    return text;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.queue.close();
  }
}

async function rows(server: PostgresServer, url: string): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const table of ["entry", "recipient", "body", "dot"]) {
    const [row] = await server.query(
      new URL(url).pathname.slice(1),
      `SELECT count(*)::int AS n FROM mailapp.${table}`,
    );
    counts[table] = Number(row?.n);
  }
  return counts;
}

testsWithPostgres("PostgresQueue", {
  "keeps an entry, its message and what became of it": async (server) => {
    const url = await server.newDatabase();
    {
      await using host = await Host.join(url);
      const { queue } = host;
      const big = new Uint8Array(3_000_000).map((_, index) => index * 7);
      const id = queue.newId();
      await using draft = queue.begin(id);
      for (let at = 0; at < big.length; at += 60_000) await draft.write(big.subarray(at, at + 60_000));
      const summary = await draft.commit({
        acceptedAt: Date.now(),
        reversePath: "ä\0@one.test",
        body: "8BITMIME",
        smtputf8: true,
        content: { eightBitHeader: true, eightBitBody: true },
        recipients: [
          recipient("ü@one.test", { notify: ["SUCCESS"] }),
          recipient("c@two.test", { nextAttemptAt: 77 }),
        ],
      }, new TextEncoder().encode("Received: x\r\n"));
      assert.deepEqual(summary.due.map(({ domain }) => domain), ["one.test", "two.test"]);
      const entry = await host.load(id);
      assert.equal(entry.reversePath, "ä\0@one.test");
      assert.deepEqual(entry.recipients.map(({ notify, address }) => [address, notify]), [["ü@one.test", [
        "SUCCESS",
      ]], [
        "c@two.test",
        undefined,
      ]]);
      const text = await host.text(id);
      assert.equal(text.length, entry.size);
      assert.equal(text.slice(0, 13), "Received: x\r\n");
      assert.ok(Buffer.from(text.slice(13), "latin1").equals(big));
      assert.equal((await rows(server, url)).body, 6);
      const [first] = entry.recipients;
      assert.ok(first);
      Object.assign(first, { status: "relayed", settled: true, attemptCount: 1 });
      await queue.update(entry);
      assert.deepEqual((await host.load(id)).recipients, entry.recipients);
      await queue.remove(id);
      await queue.remove(id);
      assert.equal(await queue.load(id), undefined);
      assert.deepEqual(await rows(server, url), { entry: 0, recipient: 0, body: 0, dot: 0 });
    }
    {
      await using host = await Host.join(url);
      const id = await host.add();
      assert.equal(await host.text(id), MESSAGE);
      const entry = await host.load(id);
      await host.queue.update(entry);
      assert.equal(await host.text(id), MESSAGE);
      await host.queue.remove(id);
    }
  },
  "removes an entry with the answer to its last dot, if nothing is left to do about it": async (server) => {
    const url = await server.newDatabase();
    await using host = await Host.join(url);
    const { queue } = host;
    const relay = async (id: string, recipients: readonly number[]) => {
      await queue.dotSent(id, { recipients, host: "mx.test", address: "192.0.2.1", at: Date.now() });
      await queue.dotAnswered(id, { recipients, relayed: true });
    };
    const entries = async () => (await rows(server, url)).entry;
    const nothing = { entry: 0, recipient: 0, body: 0, dot: 0 };

    const plain = await host.add();
    const entry = await host.load(plain);
    await relay(plain, [0]);
    assert.deepEqual(await rows(server, url), nothing);
    // Whoever works on it need not know.
    await queue.update(entry);
    await queue.remove(plain);
    await queue.remove(plain);

    const wanted = queue.newId();
    const told = newEntry([recipient("b@one.test", { notify: ["SUCCESS"] })], { id: wanted });
    await queue.add(told, new TextEncoder().encode(MESSAGE));
    await relay(wanted, [0]);
    assert.equal(await entries(), 1, "a notice is due");
    await queue.remove(wanted);

    const several = await host.add(["a@one.test", "b@two.test", "c@two.test"]);
    await relay(several, [0]);
    assert.equal(await entries(), 1, "two are pending");
    const state = await host.load(several);
    Object.assign(state.recipients[0] ?? {}, { status: "relayed", settled: true });
    Object.assign(state.recipients[1] ?? {}, { status: "failed" });
    await queue.update(state);
    await relay(several, [2]);
    assert.equal(await entries(), 1, "one has failed, and its sender was not told");
    await queue.remove(several);

    const late = await host.add();
    const tried = await host.load(late);
    Object.assign(tried.recipients[0] ?? {}, { attemptCount: 1 });
    await queue.update(tried);
    await queue.dotSent(late, { recipients: [0], host: "mx.test", address: "192.0.2.1", at: Date.now() });
    await queue.dotAnswered(late, { recipients: [0], relayed: false });
    assert.equal(await entries(), 1, "refused");
    await relay(late, [0]);
    assert.deepEqual(await rows(server, url), nothing);
  },
  "reads again what another host has had meanwhile": async (server) => {
    const url = await server.newDatabase();
    await using first = await Host.join(url);
    await using second = await Host.join(url);
    first.follow();
    const id = await first.add(["a@one.test", "b@one.test"]);
    assert.equal(await second.queue.obtain(id), true);
    const entry = await second.load(id);
    Object.assign(entry.recipients[0] ?? {}, { status: "relayed", settled: true });
    await second.queue.update(entry);
    first.queue.shared.unfollow();
    assert.equal(second.queue.shared.giveBack(entry, 60_000), true);
    await second.queue.returned();
    const statuses = (await first.load(id)).recipients.map(({ status }) => status);
    assert.deepEqual(statuses, ["relayed", "pending"]);
  },
  "offers what is over, and was not removed by the host that is gone": async (server) => {
    const url = await server.newDatabase();
    {
      await using first = await Host.join(url);
      const id = await first.add();
      const entry = await first.load(id);
      Object.assign(entry.recipients[0] ?? {}, { status: "failed", settled: true });
      await first.queue.update(entry);
    }
    await using second = await Host.join(url);
    second.follow();
    await until(() => second.offers.length > 0);
    assert.equal(second.offers[0]?.unfinished, true);
  },
  "lists the messages of a domain, each once and in order, and those in all": async (server) => {
    const url = await server.newDatabase();
    await using host = await Host.join(url);
    const of = async (domain?: string) =>
      await Array.fromAsync(host.queue.ids(domain === undefined ? {} : { domain }));
    const all: string[] = [];
    for (let n = 0; n < 6; n++) {
      all.push(await host.add(n % 2 === 0 ? ["a@even.test", "b@even.test"] : ["a@odd.test", "b@any.test"]));
    }
    const spoilt = all.pop() ?? "";
    await server.query(
      new URL(url).pathname.slice(1),
      `UPDATE mailapp.entry SET unreadable = 'x' WHERE id = '${spoilt}'`,
    );
    all.sort();
    assert.deepEqual(await of(), all);
    const even = await of("even.test");
    assert.equal(even.length, 3);
    assert.deepEqual(even, all.filter((id) => even.includes(id)));
    assert.deepEqual(await of("odd.test"), all.filter((id) => !even.includes(id)));
    assert.deepEqual(await of("any.test"), await of("odd.test"));
    assert.deepEqual(await of("none.test"), []);
  },
  "stores many at once, and refuses only the one that cannot be stored": async (server) => {
    const url = await server.newDatabase();
    await using host = await Host.join(url);
    const { queue } = host;
    const ids = Array.from({ length: 20 }, () => queue.newId());
    const twice = ids[7] ?? "";
    const all = await Promise.allSettled([...ids, twice].map((id, index) =>
      queue.add(
        newEntry([recipient("a@one.test"), recipient("b@one.test")], { id }),
        new TextEncoder().encode(`${MESSAGE}${"x".repeat(index * 1000)}\r\n`),
      )
    ));
    assert.equal(all.filter(({ status }) => status === "rejected").length, 1);
    assert.deepEqual(await rows(server, url), { entry: 20, recipient: 40, body: 20, dot: 0 });
    await using other = await Host.join(url);
    for (const [index, id] of ids.entries()) {
      if (id !== twice) assert.equal(await other.text(id), `${MESSAGE}${"x".repeat(index * 1000)}\r\n`);
    }
  },
  "has one owner for each entry": async (server) => {
    const url = await server.newDatabase();
    await using first = await Host.join(url);
    await using second = await Host.join(url);
    const id = await first.add();
    const entry = await first.load(id);
    assert.equal(await second.queue.load(id), undefined);
    await assert.rejects(second.queue.update(entry), { name: "NotHeldError" });
    await assert.rejects(second.queue.remove(id), { name: "NotHeldError" });
    await assert.rejects(second.queue.dotSent(id, { recipients: [0], host: "h", address: "a", at: 1 }), {
      name: "NotHeldError",
    });
    assert.deepEqual(await Array.fromAsync(second.queue.ids()), [id]);
    assert.equal((await second.queue.peek([id]))[0]?.host, "host.test");
    // Due at once: it is not given back; later: it is, and the other one gets it when it is due.
    assert.equal(first.queue.shared.giveBack(entry, 0), false);
    second.follow();
    assert.equal(first.queue.shared.giveBack(entry, 6000), true);
    await assert.rejects(first.queue.update(entry), { name: "NotHeldError" });
    await until(() => second.offers.length > 0);
    assert.equal(second.offers[0]?.id, id);
    assert.equal((await second.load(id)).id, id);
  },
  "offers each of many entries to one of several hosts": async (server) => {
    const url = await server.newDatabase();
    {
      await using first = await Host.join(url);
      await Promise.all(Array.from({ length: 500 }, () => first.add()));
    }
    const hosts = await Promise.all(Array.from({ length: 3 }, () => Host.join(url)));
    for (const host of hosts) host.follow();
    const offered = () => hosts.flatMap(({ offers }) => offers.map(({ id }) => id));
    await until(() => offered().length >= 500);
    assert.equal(new Set(offered()).size, 500);
    assert.equal(offered().length, 500);
    for (const host of hosts) await host.queue.close();
  },
  "takes over what a host has left that is gone, and fences it off": async (server) => {
    const url = await server.newDatabase();
    const name = new URL(url).pathname.slice(1);
    await using first = await Host.join(url, {
      lease: 60_000,
      dotTimeout: () => 100,
      resendAfter: () => 100,
    });
    first.follow();
    const id = await first.add();
    const dotted = await first.add();
    const entry = await first.load(id);
    await first.queue.dotSent(dotted, {
      recipients: [0],
      host: "mx.test",
      address: "192.0.2.1",
      at: Date.now(),
    });
    // As if it slept: the database does not hear of it until its lease is over.
    await server.query(name, "UPDATE mailapp.host SET lease_until = now() - interval '1 second'");
    await using second = await Host.join(url, { resendAfter: () => 60_000 });
    second.follow();
    await until(() => second.offers.length > 0);
    assert.deepEqual(second.offers.map(({ id }) => id), [id]);
    await assert.rejects(first.queue.update(entry), { name: "NotHeldError" });
    assert.equal(first.losses, 1);
    assert.equal(first.log.named("queue.lease_lost").length, 1);
    assert.equal(second.log.named("queue.host_dead").length, 1);
    // The answer to the dot still counts: no other host has started again.
    await first.queue.dotAnswered(dotted, { recipients: [0], relayed: true });
    await until(() => second.offers.length > 1);
    assert.equal((await second.load(dotted)).recipients[0]?.status, "relayed");
    assert.equal(second.offers[1]?.unfinished, true);
    // It joins again, under another number, and has nothing of before.
    await until(() => first.log.named("queue.joined").length === 2);
    await assert.rejects(first.queue.update(entry), { name: "NotHeldError" });
  },
  "records a dot whose answer is lost with its host, and waits": async (server) => {
    const url = await server.newDatabase();
    const name = new URL(url).pathname.slice(1);
    await using first = await Host.join(url, { lease: 60_000, dotTimeout: () => 10, resendAfter: () => 10 });
    const id = await first.add(["b@one.test", "c@one.test"]);
    const at = Date.now();
    await first.queue.dotSent(id, { recipients: [1], host: "mx.test", address: "192.0.2.1", at });
    await server.query(name, "UPDATE mailapp.host SET lease_until = now() - interval '1 second'");
    await server.query(name, "UPDATE mailapp.entry SET dot_until = now() + interval '2 second'");
    await server.query(name, "UPDATE mailapp.dot SET until = now() + interval '2 second'");
    await using second = await Host.join(url, { resendAfter: () => 60_000 });
    second.follow();
    await until(() => second.log.named("queue.host_dead").length > 0);
    assert.equal(second.offers.length, 0);
    assert.equal(await second.queue.load(id), undefined);
    await until(() => second.offers.length > 0);
    const { recipients: [other, dotted] } = await second.load(id);
    assert.equal(other?.attemptCount, 0);
    assert.equal(dotted?.status, "pending");
    assert.equal(dotted?.attempts[0]?.dotSentNoReply, true);
    assert.ok((dotted?.nextAttemptAt ?? 0) >= at + 60_000);
    assert.equal(second.log.named("attempt.deferred").length, 1);
    assert.equal(second.offers[0]?.due.length, 1);
  },
  "sends again what a host had at a dot whose clock was ahead": async (server) => {
    const url = await server.newDatabase();
    const name = new URL(url).pathname.slice(1);
    await using first = await Host.join(url, { lease: 60_000 });
    const id = await first.add();
    const at = Date.now() + 86_400_000;
    await first.queue.dotSent(id, { recipients: [0], host: "mx.test", address: "192.0.2.1", at });
    await server.query(name, "UPDATE mailapp.host SET lease_until = now() - interval '1 second'");
    await server.query(name, "UPDATE mailapp.entry SET dot_until = now()");
    await server.query(name, "UPDATE mailapp.dot SET until = now()");
    await using second = await Host.join(url, { resendAfter: () => 30 });
    second.follow();
    await until(() => second.offers.length > 0);
    const due = (await second.load(id)).recipients[0]?.nextAttemptAt ?? Infinity;
    await until(() => Date.now() > due + 100);
    const entry = await second.load(id);
    assert.equal(entry.recipients[0]?.nextAttemptAt, due);
    await second.queue.update(entry);
    assert.equal((await second.load(id)).recipients[0]?.nextAttemptAt, due);
  },
  "shows a host once, and what it had before as long as that has messages": async (server) => {
    const url = await server.newDatabase();
    const name = new URL(url).pathname.slice(1);
    await (await Host.join(url, { hostname: "a.test" })).queue.close();
    await (await Host.join(url, { hostname: "b.test" })).queue.close();
    await using host = await Host.join(url, { hostname: "a.test" });
    const shown = async () => (await host.queue.counts()).hosts.map(({ name, state }) => `${name} ${state}`);
    assert.deepEqual(await shown(), ["a.test serving", "b.test gone"]);
    await host.add();
    await server.query(name, "UPDATE mailapp.entry SET owner = (SELECT min(id) FROM mailapp.host)");
    assert.deepEqual(await shown(), ["a.test serving", "b.test gone", "a.test gone"]);
  },
  "outlives the loss of the server, and loses nothing that was promised": async (server) => {
    const url = await server.newDatabase();
    await using host = await Host.join(url, { lease: 60_000 });
    host.follow();
    const kept = [await host.add(), await host.add()];
    await server.kill();
    await assert.rejects(host.add(), { name: "SmtpError" });
    await server.restart();
    kept.push(await host.add());
    assert.deepEqual((await Array.fromAsync(host.queue.ids())).sort(), kept.sort());
    for (const id of kept) assert.equal((await host.load(id)).id, id);
    assert.equal(host.losses, 0);
  },
  "puts an entry aside that cannot be read, and goes on with the others": async (server) => {
    const url = await server.newDatabase();
    const name = new URL(url).pathname.slice(1);
    let spoilt: string;
    let good: string;
    {
      await using first = await Host.join(url);
      [spoilt, good] = [await first.add(), await first.add()];
    }
    await server.query(
      name,
      `UPDATE mailapp.entry SET head = replace(head, 'one.test', 'two.test') WHERE id = '${spoilt}'`,
    );
    await using host = await Host.join(url);
    host.follow();
    await until(() => host.offers.length > 0);
    assert.equal(await host.queue.load(spoilt), undefined);
    assert.equal((await host.load(good)).id, good);
    assert.equal(host.log.named("queue.unreadable").length, 1);
    const [row] = await server.query(
      name,
      `SELECT unreadable, owner FROM mailapp.entry WHERE id = '${spoilt}'`,
    );
    assert.match(String(row?.unreadable), /check does not match/);
  },
});
