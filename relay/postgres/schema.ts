/**
 * The tables of a queue in PostgreSQL, and the steps that led to them. docs/queue.md describes them.
 *
 * @module
 */
import type { Database, Sql } from "./database.ts";
import { ageProblem } from "./diagnosis.ts";

/** The tables are not those that this program can work with. */
export class SchemaError extends Error {
  /** `message` says what to do. */
  constructor(message: string) {
    super(message);
    this.name = "SchemaError";
  }
}

/** One step. Steps are never changed, only added. */
interface Migration {
  readonly sql: string;
  /** The oldest version whose programs may work with what this step leaves. */
  readonly readableBy: number;
}

// Rows of entries and hosts are updated where they stand; of the rest most are inserted and deleted once.
const MIGRATIONS: readonly Migration[] = [{
  readableBy: 1,
  sql: `
    CREATE TABLE mailapp.host (
      id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      name text NOT NULL,
      pid integer NOT NULL,
      program text NOT NULL,
      started_at timestamptz NOT NULL DEFAULT now(),
      seen_at timestamptz NOT NULL DEFAULT now(),
      lease_until timestamptz NOT NULL,
      draining boolean NOT NULL DEFAULT false,
      dead boolean NOT NULL DEFAULT false
    ) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 50, autovacuum_vacuum_scale_factor = 0);
    CREATE TABLE mailapp.entry (
      id text COLLATE "C" PRIMARY KEY,
      head text,
      state text,
      reverse_path text NOT NULL,
      size bigint NOT NULL,
      owner bigint,
      due_at timestamptz NOT NULL,
      dot_until timestamptz,
      wanted boolean NOT NULL DEFAULT false,
      unreadable text,
      added_at timestamptz NOT NULL DEFAULT now()
    ) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
      autovacuum_vacuum_cost_delay = 0);
    CREATE INDEX entry_free ON mailapp.entry (due_at) WHERE owner IS NULL;
    CREATE INDEX entry_owned ON mailapp.entry (owner) WHERE owner IS NOT NULL;
    CREATE TABLE mailapp.recipient (
      entry text COLLATE "C" NOT NULL,
      number integer NOT NULL,
      address text NOT NULL,
      domain text NOT NULL,
      status text NOT NULL,
      next_at bigint NOT NULL,
      settled boolean NOT NULL,
      notice text,
      PRIMARY KEY (entry, number)
    ) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
      autovacuum_vacuum_cost_delay = 0);
    CREATE INDEX recipient_domain ON mailapp.recipient (domain);
    CREATE TABLE mailapp.body (
      entry text COLLATE "C" NOT NULL,
      part integer NOT NULL,
      bytes bytea NOT NULL,
      PRIMARY KEY (entry, part)
    ) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
      autovacuum_vacuum_cost_delay = 0);
    ALTER TABLE mailapp.body ALTER COLUMN bytes SET STORAGE EXTERNAL;
    CREATE TABLE mailapp.dot (
      entry text COLLATE "C" NOT NULL,
      recipient integer NOT NULL,
      owner bigint NOT NULL,
      host text NOT NULL,
      address text NOT NULL,
      at bigint NOT NULL,
      until timestamptz NOT NULL,
      relayed boolean NOT NULL DEFAULT false,
      PRIMARY KEY (entry, recipient)
    ) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
    CREATE TABLE mailapp.notice (
      id text COLLATE "C" PRIMARY KEY,
      added_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX notice_age ON mailapp.notice (added_at);
  `,
}, {
  // Programs of version 1 count connections by themselves.
  readableBy: 1,
  sql: `
    CREATE TABLE mailapp.slot (
      key text COLLATE "C" NOT NULL,
      number integer NOT NULL,
      owner bigint NOT NULL,
      PRIMARY KEY (key, number)
    ) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
      autovacuum_vacuum_cost_delay = 0);
    CREATE INDEX slot_owner ON mailapp.slot (owner);
    CREATE TABLE mailapp.slot_wait (
      key text COLLATE "C" NOT NULL,
      owner bigint NOT NULL,
      until timestamptz NOT NULL,
      PRIMARY KEY (key, owner)
    ) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
      autovacuum_vacuum_cost_delay = 0);
    CREATE TABLE mailapp.pause (
      key text COLLATE "C" PRIMARY KEY,
      until timestamptz NOT NULL,
      failure text NOT NULL
    );
  `,
}, {
  // The list of a domain is read in the order of ids.
  readableBy: 1,
  sql: `
    CREATE INDEX recipient_domain_entry ON mailapp.recipient (domain, entry);
    DROP INDEX mailapp.recipient_domain;
  `,
}];

/** The version of the tables that this program makes. */
export const SCHEMA_VERSION = MIGRATIONS.length;

// Any number that no other program is likely to take.
const LOCK = 7_166_325_461;
// A step may rewrite a large table.
const MIGRATE_WITHIN = 3_600_000;

/**
 * Brings the tables up to this program's version, creating them where there are none. Several programs may try at once.
 * @returns the version before, 0 where there was none
 * @throws {SchemaError} when a newer program has made them
 */
export async function migrate(database: Database): Promise<number> {
  return await database.run(async (sql) =>
    await sql.begin(async (transaction) => {
      await transaction`SET LOCAL statement_timeout = 0`;
      await transaction`SET LOCAL lock_timeout = 0`;
      await transaction`SELECT pg_advisory_xact_lock(${LOCK}::bigint)`;
      // A plain CREATE … IF NOT EXISTS wants the right to create even where it is there.
      const [found] = await transaction`
        SELECT to_regclass('mailapp.migration') IS NOT NULL AS there,
          current_setting('server_version_num')::integer AS server`;
      checkServer(found?.server);
      if (!found?.there) {
        await transaction.unsafe(`
          CREATE SCHEMA IF NOT EXISTS mailapp;
          CREATE TABLE mailapp.migration (
            version integer PRIMARY KEY,
            readable_by integer NOT NULL,
            applied_at timestamptz NOT NULL DEFAULT now()
          );
        `);
      }
      const before = await versionOf(transaction as unknown as Sql);
      if (before.version > SCHEMA_VERSION) throw tooNew(before.version);
      for (const [index, { sql: text, readableBy }] of MIGRATIONS.entries()) {
        const version = index + 1;
        if (version <= before.version) continue;
        await transaction.unsafe(text);
        await transaction`
          INSERT INTO mailapp.migration (version, readable_by) VALUES (${version}, ${readableBy})`;
      }
      return before.version;
    }) as number, { within: MIGRATE_WITHIN });
}

/**
 * Checks whether this program can work with the tables. Newer ones will do if they were made so that it can.
 * @throws {SchemaError} when it cannot
 */
export async function checkSchema(database: Database): Promise<void> {
  const { version, readableBy } = await database.run(async (sql) => {
    const [found] = await sql`
      SELECT to_regclass('mailapp.migration') IS NOT NULL AS there,
        current_setting('server_version_num')::integer AS server`;
    checkServer(found?.server);
    return found?.there ? await versionOf(sql) : { version: 0, readableBy: 0 };
  });
  if (version === 0) {
    throw new SchemaError("there is no queue in this database yet: mailapp queue migrate makes one");
  }
  if (version < SCHEMA_VERSION) {
    throw new SchemaError(
      `the queue in this database has version ${version}, and this program needs ${SCHEMA_VERSION}: ` +
        "mailapp queue migrate brings it up",
    );
  }
  if (readableBy > SCHEMA_VERSION) throw tooNew(version);
}

/** @throws {SchemaError} where the server is too old */
function checkServer(version: unknown): void {
  const problem = ageProblem(Number(version));
  if (problem !== undefined) throw new SchemaError(`the database of the queue: ${problem}`);
}

async function versionOf(sql: Sql): Promise<{ version: number; readableBy: number }> {
  const [row] = await sql`
    SELECT COALESCE(max(version), 0) AS version, COALESCE(max(readable_by), 0) AS readable_by FROM mailapp.migration`;
  return { version: Number(row?.version ?? 0), readableBy: Number(row?.readable_by ?? 0) };
}

function tooNew(version: number): SchemaError {
  return new SchemaError(
    `the queue in this database has version ${version}, of a newer program; this one knows up to ${SCHEMA_VERSION}`,
  );
}
