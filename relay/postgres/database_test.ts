// Connections to PostgreSQL, with a server that goes and comes back.
import assert from "node:assert/strict";
import {
  type PostgresServer,
  type PostgresTest,
  testsWithPostgres,
} from "../../tests/support/postgres_server.ts";
import { until } from "../../tests/support/until.ts";
import { Database, isWaitCancelled } from "./database.ts";
import { parseDatabaseUrl } from "./url.ts";

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

function connect({ port }: PostgresServer, { several }: { readonly several: boolean }): Database {
  const places = several ? `127.0.0.1:1,127.0.0.1:${port}` : `127.0.0.1:${port}`;
  const url = `postgres://mailapp:x@${places}/postgres?sslmode=disable`;
  return new Database({ url: parseDatabaseUrl(url), connections: 2 });
}

const awayAndBack = [false, true].flatMap((several): [string, PostgresTest][] => [
  [`does not run later what it has given up, with ${several ? "two servers" : "one"}`, async (server) => {
    await server.query("postgres", "DROP TABLE IF EXISTS given_up; CREATE TABLE given_up (number integer)");
    await using database = connect(server, { several });
    await database.run((sql) => sql`SELECT 1`);
    await server.kill();
    for (const number of [1, 2, 3]) {
      await assert.rejects(
        database.run((sql) => sql`INSERT INTO given_up VALUES (${number})`, { within: 300 }),
        { name: "DatabaseError" },
      );
    }
    await server.restart();
    await until(
      () => database.run((sql) => sql`INSERT INTO given_up VALUES (4)`).then(() => true, () => false),
      "the server",
      () => pause(100),
    );
    await pause(2_500);
    const rows = await server.query("postgres", "SELECT number FROM given_up ORDER BY number");
    assert.deepEqual(rows.map(({ number }) => number), [4]);
  }],
  [`finds the server again that was away, with ${several ? "two servers" : "one"}`, async (server) => {
    await using database = connect(server, { several });
    for (let round = 0; round < 2; round++) {
      await Promise.all(Array.from({ length: 20 }, () => database.run((sql) => sql`SELECT 1`)));
      await server.kill();
      await assert.rejects(database.run((sql) => sql`SELECT 1`, { within: 500 }), {
        name: "DatabaseError",
      });
      await server.restart();
      const [row] = await database.run((sql) => sql`SELECT 1 AS one`).catch(async () => {
        await pause(1_500);
        return await database.run((sql) => sql`SELECT 1 AS one`);
      });
      assert.equal(row?.one, 1);
    }
  }],
]);

testsWithPostgres("Database", {
  ...Object.fromEntries(awayAndBack),
  "goes on to the next server where one takes connections and says nothing": async (server) => {
    using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const places = `127.0.0.1:${silent.addr.port},127.0.0.1:${server.port}`;
    await using database = new Database({
      url: parseDatabaseUrl(`postgres://mailapp:x@${places}/postgres?sslmode=disable`),
      connections: 1,
    });
    const [row] = await database.run((sql) => sql`SELECT 1 AS one`);
    assert.equal(row?.one, 1);
  },
  "says that a standby may be missing where a commit is not answered": async (server) => {
    await using database = connect(server, { several: false });
    await database.run((sql) => sql`CREATE TABLE committed (number integer)`);
    const reload = async (text: string) => {
      await server.query("postgres", text);
      await server.query("postgres", "SELECT pg_reload_conf()");
    };
    await reload("ALTER SYSTEM SET synchronous_standby_names = 'standby1'");
    await pause(200);
    await assert.rejects(
      database.run((sql) => sql`INSERT INTO committed VALUES (1)`, { within: 3_000 }),
      /no answer within 3000 ms, .* standby missing\? .*synchronous_standby_names = 'standby1'/,
    );
    await database.run((sql) => sql`INSERT INTO committed VALUES (2)`, { lazy: true });
    await reload("ALTER SYSTEM RESET synchronous_standby_names");
  },
});

Deno.test("isWaitCancelled() knows the warning in each language", () => {
  const routine = "SyncRepWaitForLSN";
  const german = "storniere Warten auf synchrone Replikation wegen Benutzeraufforderung";
  assert.equal(isWaitCancelled({ severity: "WARNING", routine, message: german }), true);
  assert.equal(
    isWaitCancelled({ message: "canceling wait for synchronous replication due to user request" }),
    true,
  );
  assert.equal(isWaitCancelled({ routine: "DefineIndex", message: "x" }), false);
});

for (const tls of [false, true]) {
  Deno.test(`Database tries servers in turn, with pauses, while none can be used, ${tls ? "over TLS" : "without TLS"}`, async () => {
    const listeners = [1, 2].map(() => Deno.listen({ hostname: "127.0.0.1", port: 0 }));
    const tries = [0, 0];
    const accepting = listeners.map(async (listener, index) => {
      for await (const connection of listener) {
        tries[index] = (tries[index] ?? 0) + 1;
        if (tls) await refuseLater(connection);
        connection.close();
      }
    });
    const places = listeners.map(({ addr }) => `localhost:${addr.port}`).join();
    {
      await using database = new Database({
        url: parseDatabaseUrl(`postgres://a:x@${places}/b${tls ? "" : "?sslmode=disable"}`),
        connections: 1,
      });
      await using _listening = database.listen("x", () => {});
      await pause(2_500);
    }
    for (const listener of listeners) listener.close();
    await Promise.all(accepting);
    assert.ok(tries.every((count) => count >= 1 && count < 15), `${tries.join(" and ")} tries`);
  });
}

/** Agrees to TLS, and reads only how it would begin. */
async function refuseLater(connection: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(4096);
  await connection.read(buffer);
  await connection.write(new TextEncoder().encode("S"));
  await connection.read(buffer);
}
