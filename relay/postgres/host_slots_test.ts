// Connections and pauses that several processes share, on a real PostgreSQL.
import assert from "node:assert/strict";
import { systemClock } from "../../base/clock.ts";
import { silentLogger } from "../../base/log.ts";
import { type PostgresServer, testsWithPostgres } from "../../tests/support/postgres_server.ts";
import { until } from "../../tests/support/until.ts";
import type { HostSlot } from "../host_slot.ts";
import { HostTable } from "../host_table.ts";
import { PostgresQueue } from "./postgres_queue.ts";
import { parseDatabaseUrl } from "./url.ts";

const MX = { host: "mx.one.test", address: "192.0.2.1", port: 25 };
const BUSY = { reply: "421 4.7.0 too many connections", status: "4.7.0" };

/** A process with its table of hosts. */
class Process implements AsyncDisposable {
  readonly slots: HostSlot[] = [];
  private constructor(readonly queue: PostgresQueue, readonly hosts: HostTable) {}

  static async start(url: string, { most = 5, lease = 10_000 } = {}): Promise<Process> {
    const queue = await PostgresQueue.open({
      url: parseDatabaseUrl(url),
      directory: `/tmp/mailapp-test-${crypto.randomUUID()}`,
      hostname: "host.test",
      program: "test",
      logger: silentLogger,
      lease,
      needsStandby: false,
      connections: 2,
    });
    const { hosts: shared } = queue.shared;
    assert(shared);
    return new Process(
      queue,
      new HostTable({ clock: systemClock, logger: silentLogger, maxConnectionsPerHost: most, shared }),
    );
  }

  /** Asks for a connection; whether it may be opened. */
  async connect(target = MX): Promise<boolean> {
    await this.hosts.prepare(target);
    const admission = this.hosts.admit(target);
    if (admission.kind === "admitted") this.slots.push(admission.slot);
    return admission.kind === "admitted";
  }

  /** Opens as many as it may. */
  async connectAll(target = MX): Promise<number> {
    while (await this.connect(target));
    return this.slots.length;
  }

  /** Waits for a connection, as a destination does. */
  async wait(target = MX): Promise<void> {
    for (let tries = 0; !await this.connect(target); tries++) {
      assert.ok(tries < 1000);
      const admission = this.hosts.admit(target);
      if (admission.kind !== "wait") continue;
      await new Promise<void>((resolve) => this.hosts.wait(admission.key, resolve));
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.hosts.stop();
    return this.queue.close();
  }
}

async function slotRows(server: PostgresServer, url: string): Promise<number> {
  const [row] = await server.query(
    new URL(url).pathname.slice(1),
    "SELECT count(*)::int AS n FROM mailapp.slot",
  );
  return Number(row?.n);
}

testsWithPostgres("HostSlots", {
  "caps the connections of all processes to one host and to one address": async (server) => {
    const url = await server.newDatabase();
    await using first = await Process.start(url, { most: 4 });
    await using second = await Process.start(url, { most: 4 });
    await Promise.all([first, second].map((one) => one.connectAll()));
    assert.equal(first.slots.length + second.slots.length, 4);
    // Another name of the same address, and another address of the same name.
    assert.equal(await second.connect({ ...MX, host: "mx.two.test" }), false);
    assert.equal(await first.connect({ ...MX, address: "192.0.2.2" }), false);
    assert.equal(await second.connect({ ...MX, host: "mx.three.test", address: "192.0.2.3" }), true);
    // Loopback is another machine for each of them.
    const local = { host: "localhost", address: "127.0.0.1", port: 25 };
    assert.equal(first.hosts.prepare(local), undefined);
    assert.equal(await first.connect(local), true);
  },
  "lets one process have all of them, and gives a second one its share as connections end": async (
    server,
  ) => {
    const url = await server.newDatabase();
    await using first = await Process.start(url);
    await using second = await Process.start(url);
    assert.equal(await first.connectAll(), 5);
    const waiting = Promise.all([second.wait(), second.wait()]);
    await until(() => first.slots.every((slot) => slot.contested()), "the first to learn of it");
    for (const slot of first.slots.splice(0, 3)) slot.release();
    await waiting;
    assert.equal(second.slots.length, 2);
    assert.equal(await first.connectAll(), 3);
    await until(() => first.slots.every((slot) => !slot.contested()), "the end of the contest");
    // What is used no more is free for others before long.
    for (const one of [first, second]) for (const slot of one.slots.splice(0)) slot.release();
    await until(async () => await slotRows(server, url) === 0, "the slots to be given up");
  },
  "serves more processes than there are connections": async (server) => {
    const url = await server.newDatabase();
    const all = await Promise.all([1, 2, 3].map(() => Process.start(url, { most: 1 })));
    try {
      let active = 0;
      let served = 0;
      await Promise.all(all.map(async (one) => {
        for (let turn = 0; turn < 3; turn++) {
          await one.wait();
          assert.equal(++active, 1);
          await new Promise((resolve) => setTimeout(resolve, 5));
          active--;
          served++;
          one.slots.pop()?.release();
        }
      }));
      assert.equal(served, 9);
    } finally {
      for (const one of all) await one[Symbol.asyncDispose]();
    }
  },
  "counts the connections of a process no longer when its lease is over": async (server) => {
    const url = await server.newDatabase();
    const name = new URL(url).pathname.slice(1);
    await using first = await Process.start(url, { lease: 60_000 });
    assert.equal(await first.connectAll(), 5);
    await server.query(name, "UPDATE mailapp.host SET lease_until = now() - interval '1 second'");
    await using second = await Process.start(url);
    assert.equal(await second.connect(), false);
    await second.wait();
    // The first one learns of it when it next renews, or changes an entry.
    await assert.rejects(first.queue.dotSent(first.queue.newId(), { recipients: [0], ...MX, at: 0 }));
    assert.equal(await first.queue.probe(), undefined);
    assert.equal(await second.connectAll(), 5);
  },
  "goes on after its lease was lost, for those that waited before, too": async (server) => {
    const url = await server.newDatabase();
    const name = new URL(url).pathname.slice(1);
    await using first = await Process.start(url, { lease: 60_000 });
    await using second = await Process.start(url, { most: 5, lease: 3_000 });
    assert.equal(await first.connectAll(), 5);
    const waiting = second.wait();
    await until(() => first.slots.every((slot) => slot.contested()), "the first to learn of it");
    await server.query(
      name,
      `UPDATE mailapp.host SET dead = true WHERE lease_until < now() + interval '30 seconds'`,
    );
    await until(
      async () => (await server.query(name, "SELECT FROM mailapp.host WHERE NOT dead")).length === 2,
      "another lease",
    );
    for (const slot of first.slots.splice(0)) slot.release();
    await waiting;
    assert.equal(second.slots.length, 1);
  },
  "gives up what the database has lost": async (server) => {
    const url = await server.newDatabase();
    await using first = await Process.start(url);
    assert.equal(await first.connect(), true);
    await server.query(new URL(url).pathname.slice(1), "DELETE FROM mailapp.slot");
    await until(() => first.queue.shared.hosts?.held(`host ${MX.host} 25`) === 0, "a look at the database");
    first.slots[0]?.release();
    assert.equal(await first.connect(), true);
  },
  "tells all processes of a pause, those that join later too, and of its end": async (server) => {
    const url = await server.newDatabase();
    await using first = await Process.start(url);
    await using second = await Process.start(url);
    assert.equal(await first.connect(), true);
    assert.equal(await second.connect(), true);
    first.slots[0]?.slowDown(BUSY, "busy");
    await until(() => second.hosts.inspect(MX) !== undefined, "the second to be told");
    assert.equal(second.hosts.inspect(MX)?.failure.reply, BUSY.reply);
    assert.equal(second.slots[0]?.resting(), true);
    await using third = await Process.start(url);
    await until(() => third.hosts.inspect(MX) !== undefined, "the third to read it");
    assert.equal(await third.connect(), false);
    assert.ok((third.hosts.inspect(MX)?.forMs ?? 0) <= 60_000);
    // A rate limit holds for all hosts of the domain.
    third.hosts.clearBackoff();
    await until(() => first.hosts.inspect(MX) === undefined, "the first to be told of the end");
    second.slots[0]?.slowDown({ ...BUSY, status: "4.7.28" }, "rate");
    await until(() => first.hosts.inspect({ ...MX, host: "mx9.one.test" }) !== undefined, "the rate limit");
  },
});
