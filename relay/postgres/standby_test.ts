// A queue in PostgreSQL that needs a synchronous standby.
import assert from "node:assert/strict";
import { newEntry, recipient } from "../../tests/support/queue_entry.ts";
import { PostgresServer } from "../../tests/support/postgres_server.ts";
import { RecordingLog } from "../../tests/support/recording_log.ts";
import { testWith } from "../../tests/support/requires.ts";
import { createTestAuthority } from "../../tests/support/test_authority.ts";
import { until } from "../../tests/support/until.ts";
import { Database } from "./database.ts";
import { PostgresQueue } from "./postgres_queue.ts";
import { parseDatabaseUrl } from "./url.ts";

testWith(
  ["pg_lsclusters", "runuser"],
  "PostgresQueue stores nothing in a database without synchronous standbys, from the moment that it has none",
  async () => {
    await using primary = await PostgresServer.start();
    await using _standby = await PostgresServer.start({ follows: primary });
    const set = async (text: string) => {
      await primary.query("postgres", `ALTER SYSTEM ${text}`);
      await primary.query("postgres", "SELECT pg_reload_conf()");
    };
    const url = await primary.newDatabase();
    await set("SET synchronous_standby_names = '*'");
    const log = new RecordingLog();
    await using queue = await PostgresQueue.open({
      // So long that nothing is learnt by renewing it.
      ...{ url: parseDatabaseUrl(url), logger: log, connections: 2, lease: 600_000, needsStandby: true },
      ...{ directory: `/tmp/mailapp-test-${crypto.randomUUID()}`, hostname: "host.test", program: "test" },
    });
    const kept: string[] = [];
    const add = async (octets: number) => {
      const id = queue.newId();
      await queue.add(
        newEntry([recipient("a@x.test")], { id, acceptedAt: Date.now() }),
        new Uint8Array(octets),
      );
      kept.push(id);
    };
    const SIZES = [20, 3_000_000];
    for (const octets of SIZES) await add(octets);
    await set("RESET synchronous_standby_names");
    await until(() => add(20).then(() => false, () => true), "a refusal");
    for (const octets of SIZES) {
      await assert.rejects(add(octets), { name: "SmtpError", message: /^451 / });
    }
    await set("SET synchronous_standby_names = '*'");
    await until(() => add(20).then(() => true, () => false), "a standby again");
    assert.deepEqual((await Array.fromAsync(queue.ids())).sort(), kept.sort());
    assert.deepEqual(log.named("queue.lease_lost"), []);
  },
);

testWith(
  ["pg_lsclusters", "runuser"],
  "PostgresQueue accepts nothing from a primary that has no synchronous standbys any more",
  async () => {
    await using primary = await PostgresServer.start();
    await using _standby = await PostgresServer.start({ follows: primary });
    const url = await primary.newDatabase();
    const log = new RecordingLog();
    const open = () =>
      PostgresQueue.open({
        ...{ url: parseDatabaseUrl(url), logger: log, connections: 2, lease: 5_000, needsStandby: true },
        directory: `/tmp/mailapp-test-${crypto.randomUUID()}`,
        hostname: "host.test",
        program: "test",
      });
    const set = async (text: string) => {
      await primary.query("postgres", `ALTER SYSTEM ${text}`);
      await primary.query("postgres", "SELECT pg_reload_conf()");
    };
    await assert.rejects(open(), { name: "DurabilityError" });
    await set("SET synchronous_standby_names = '*'");
    let queue: PostgresQueue | undefined;
    await until(async () => (queue = await open().catch(() => undefined)) !== undefined, "a lease");
    assert.ok(queue);
    await using opened = queue;
    const add = () => {
      const id = opened.newId();
      const entry = newEntry([recipient("a@x.test")], { id, acceptedAt: Date.now() });
      return opened.add(entry, new TextEncoder().encode("Subject: x\r\n\r\n"));
    };
    await add();
    // As where a standby was promoted that has other settings.
    await set("RESET synchronous_standby_names");
    await until(() => log.named("queue.lease_lost").length > 0, "the end of the lease");
    assert.match(
      String(log.named("queue.lease_lost")[0]?.fields.reason),
      /synchronous_standby_names is empty/,
    );
    await assert.rejects(add(), { name: "SmtpError" });
    assert.equal((await primary.query(new URL(url).pathname.slice(1), "SELECT FROM mailapp.host")).length, 1);
    await set("SET synchronous_standby_names = '*'");
    await until(() => add().then(() => true, () => false), "a lease again");
  },
);

testWith(["pg_lsclusters", "runuser"], "Database finds the primary behind a standby, over TLS", async () => {
  const authority = await createTestAuthority();
  const { cert, key } = await authority.issue({ names: ["localhost"] });
  const outside = { address: "127.0.0.1", certificate: cert, key };
  await using primary = await PostgresServer.start({ outside });
  await using standby = await PostgresServer.start({ outside, follows: primary });
  await using database = new Database({
    url: parseDatabaseUrl(
      `postgres://mailapp:x@localhost:${standby.port},localhost:${primary.port}/postgres`,
    ),
    ca: authority.cert,
    connections: 2,
  });
  const [row] = await database.run((sql) => sql`SELECT pg_is_in_recovery() AS standby`);
  assert.equal(row?.standby, false);
});
