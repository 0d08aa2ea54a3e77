// What an operator is told where the database of the queue cannot be used.
import assert from "node:assert/strict";
import { testWith } from "../../tests/support/requires.ts";
import { PostgresServer } from "../../tests/support/postgres_server.ts";
import { createTestAuthority } from "../../tests/support/test_authority.ts";
import { Database } from "./database.ts";
import { ageProblem, examine, explain } from "./diagnosis.ts";
import { parseDatabaseUrl } from "./url.ts";

Deno.test("explain() says what to do about an error of the server or the system", () => {
  const withCode = (code: string, text: string) => Object.assign(new Error(text), { code });
  for (
    const [code, text, said] of [
      [
        "53100",
        "could not extend file",
        "could not extend file (53100): free space on the disk of the server",
      ],
      ["55P03", "canceling statement due to lock timeout", /\(55P03\): somebody has locked a row or table/],
      ["57P03", "the database system is starting up", /tried again$/],
      [
        "EHOSTUNREACH",
        "connect EHOSTUNREACH 192.0.2.1:5432",
        /^connect EHOSTUNREACH 192\.0\.2\.1:5432: the machine/,
      ],
      ["XX000", "something else", "something else (XX000)"],
      ["", "anything", "anything"],
    ] as const
  ) {
    const found = explain(withCode(code, text));
    if (typeof said === "string") assert.equal(found, said);
    else assert.match(found, said);
  }
});

Deno.test("ageProblem() refuses servers before PostgreSQL 13", () => {
  assert.equal(ageProblem(90_624), "PostgreSQL 9.6 is too old: 13 or later is needed");
  assert.equal(ageProblem(120_022), "PostgreSQL 12 is too old: 13 or later is needed");
  assert.equal(ageProblem(130_000), undefined);
  assert.equal(ageProblem(180_001), undefined);
});

Deno.test("examine() gives up a server that stops answering once it is connected", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = (async () => {
    using connection = await listener.accept();
    const buffer = new Uint8Array(4096);
    await connection.read(buffer);
    // AuthenticationOk and ReadyForQuery.
    await connection.write(new Uint8Array([0x52, 0, 0, 0, 8, 0, 0, 0, 0, 0x5a, 0, 0, 0, 5, 0x49]));
    while (await connection.read(buffer).catch(() => null) !== null);
  })();
  const { port } = listener.addr;
  const found = await examine({
    url: parseDatabaseUrl(`postgres://a:x@127.0.0.1:${port}/b?sslmode=disable`),
  });
  assert.equal(found.troubles.length, 1);
  assert.match(found.troubles[0] ?? "", new RegExp(`^127.0.0.1:${port}: .*CONNECTION_`));
  await serving;
  listener.close();
});

testWith(
  ["pg_lsclusters", "runuser"],
  "Database says where it failed, why, and what to do",
  async (t) => {
    const authority = await createTestAuthority();
    const other = await createTestAuthority();
    const tls = async (options: Parameters<typeof authority.issue>[0]) => {
      const { cert, key } = await authority.issue(options);
      return { outside: { address: "127.0.0.1", certificate: cert, key } };
    };
    const access = [
      "hostssl all tlsonly 127.0.0.1/32 trust",
      "host all tlsonly 127.0.0.1/32 reject",
      "host all secret 127.0.0.1/32 scram-sha-256",
    ];
    await using plain = await PostgresServer.start({ access, settings: { wal_level: "replica" } });
    await using standby = await PostgresServer.start({ follows: plain });
    await using named = await PostgresServer.start(await tls({ names: ["localhost"] }));
    await using misnamed = await PostgresServer.start(await tls({ names: ["db.example.com"] }));
    for (
      const text of [
        "CREATE ROLE secret LOGIN PASSWORD 'right'",
        "CREATE ROLE tlsonly LOGIN",
        "CREATE ROLE locked",
        "CREATE ROLE limited LOGIN CONNECTION LIMIT 0",
        "CREATE ROLE reader LOGIN",
        "ALTER ROLE reader SET default_transaction_read_only = on",
      ]
    ) await plain.query("postgres", text);
    const closed = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const free = closed.addr.port;
    closed.close();
    const at = ({ port }: PostgresServer) => `127.0.0.1:${port}`;
    const off = "?sslmode=disable";
    const cases: Record<string, { url: string; ca?: string; says: RegExp }> = {
      "a wrong password": {
        url: `secret:wrong@${at(plain)}/postgres${off}`,
        says: /password authentication failed for user "secret" \(28P01\): check user and password/,
      },
      "an account that may not log in": {
        url: `locked:x@${at(plain)}/postgres${off}`,
        says: /"locked" is not permitted to log in \(28000\): check the user/,
      },
      "no such account": {
        url: `nobody:x@${at(plain)}/postgres${off}`,
        says: /"nobody" does not exist.*check the user/,
      },
      "no such database": {
        url: `mailapp:x@${at(plain)}/nothing${off}`,
        says: /"nothing" does not exist \(3D000\): check the database's name/,
      },
      "a server that requires TLS": {
        url: `tlsonly:x@${at(plain)}/postgres${off}`,
        says: /\(28000\): .*(?:requires TLS|pg_hba)/,
      },
      "a server without TLS": {
        url: `mailapp:x@localhost:${plain.port}/postgres`,
        says: /offers no TLS: set ssl = on/,
      },
      "a certificate of another authority": {
        url: `mailapp:x@localhost:${named.port}/postgres`,
        ca: other.cert,
        says: /: name the authority .* in queue\.ca_file/,
      },
      "a certificate for another name": {
        url: `mailapp:x@localhost:${misnamed.port}/postgres`,
        ca: authority.cert,
        says: /: use the name that is in its certificate/,
      },
      "too many connections": {
        url: `limited:x@${at(plain)}/postgres${off}`,
        says: /too many connections .*\(53300\): .*raise max_connections/,
      },
      "a standby": {
        url: `mailapp:x@${at(standby)}/postgres${off}`,
        says: /is a standby, which takes no writes/,
      },
      "an account that may only read": {
        url: `reader:x@${at(plain)}/postgres${off}`,
        says: /takes no writes: default_transaction_read_only is on/,
      },
      "no server": {
        url: `mailapp:x@127.0.0.1:${free}/postgres${off}`,
        says: /nothing listens there: start PostgreSQL/,
      },
      "no such host": { url: "mailapp:x@nowhere.invalid/postgres", says: /no such host: check the name/ },
      "no socket": {
        url: "mailapp@/postgres?host=/nowhere",
        says: /\/nowhere\/\.s\.PGSQL\.5432: .*no socket there: check \?host=/,
      },
    };
    for (const [name, { url, ca, says }] of Object.entries(cases)) {
      for (const several of url.includes("?host=") ? [false] : [false, true]) {
        await t.step(`${name}${several ? ", of several servers" : ""}`, async () => {
          const authority = /@([^/]+)/.exec(url)?.[1] ?? "";
          const dead = authority.startsWith("127") ? `127.0.0.1:${free}` : `localhost:${free}`;
          const text = several ? url.replace(authority, `${dead},${authority}`) : url;
          await using database = new Database({
            url: parseDatabaseUrl(`postgres://${text}`),
            ...(ca !== undefined && { ca }),
            connections: 1,
          });
          // A statement that writes, as those of the queue do.
          const error = await database.run((sql) => sql`CREATE TABLE IF NOT EXISTS x ()`).then(
            () => assert.fail("it was done"),
            (error: unknown) => error,
          );
          assert.ok(error instanceof Error);
          assert.equal(error.name, "DatabaseError", String(error));
          assert.match(error.message, says);
          if (authority !== "") {
            assert.ok(
              error.message.includes(`${authority.replace(/^nowhere.invalid$/, "$&:5432")}: `),
              error.message,
            );
          }
          if (several) assert.ok(error.message.includes(`${dead}: `), error.message);
        });
      }
    }
  },
);
