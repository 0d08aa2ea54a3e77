import assert from "node:assert/strict";
import { testsWithPostgres } from "../../tests/support/postgres_server.ts";
import { createTestAuthority } from "../../tests/support/test_authority.ts";
import { Database } from "./database.ts";
import { parseDatabaseUrl } from "./url.ts";

Deno.test("parseDatabaseUrl() refuses addresses whose certificate could not be verified", () => {
  for (const host of ["192.0.2.1", "[2001:db8::1]:5433", "db.test,192.0.2.1"]) {
    assert.throws(() => parseDatabaseUrl(`postgres://u:p@${host}/d`), /must name its hosts/, host);
  }
  for (const host of ["db.test", "db1.test:5433,db2.test", "127.0.0.1", "[::1]:5433"]) {
    assert.equal(parseDatabaseUrl(`postgres://u:p@${host}/d`).tls, true, host);
  }
  assert.equal(parseDatabaseUrl("postgres://u:p@127.0.0.1/d?sslmode=disable").tls, false);
});

const authority = await createTestAuthority();
const { cert: certificate, key } = await authority.issue({ names: ["localhost"] });
const { cert: other, key: otherKey } = await authority.issue({ names: ["other.test"] });

for (
  const [what, shown] of Object.entries({
    "its name": { certificate, key },
    "another name": { certificate: other, key: otherKey },
  })
) {
  testsWithPostgres(`Database, to a server whose certificate has ${what}`, {
    "connects over TLS only where certificate and name can be trusted, and over its socket": async (
      server,
    ) => {
      const [row] = await server.query("postgres", "SELECT 1 AS one");
      assert.equal(row?.one, 1);
      const sslOf = async (url: string, ca?: string) => {
        await using database = new Database({ url: parseDatabaseUrl(url), ...(ca !== undefined && { ca }) });
        const [row] = await database.run((sql) =>
          sql`SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()`
        );
        return row?.ssl;
      };
      const url = `postgres://mailapp:x@localhost:${server.port}/postgres`;
      if (what === "its name") assert.equal(await sslOf(url, authority.cert), true);
      else await assert.rejects(sslOf(url, authority.cert), { name: "DatabaseError" });
      await assert.rejects(sslOf(url), { name: "DatabaseError" });
      const socket = `postgres://mailapp@/postgres?host=${server.directory}&port=${server.port}`;
      assert.equal(await sslOf(socket), false);
    },
  }, { outside: { address: "127.0.0.1", ...shown } });
}
