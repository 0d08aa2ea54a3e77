/**
 * Databases of queues whose clock is a test's: statements of the queue find its functions before those of PostgreSQL.
 * Rows tell the true time of their making: ids that were taken so that nothing comes under them stay so.
 *
 * @module
 */
import postgres from "postgres";
import type { PostgresServer } from "./postgres_server.ts";

const databases = new WeakMap<PostgresServer, string>();

/** A database with tables of a queue, whose clock a test sets. */
export class TimedDatabase implements AsyncDisposable {
  readonly url: string;
  /** Runs statements of the test itself. */
  readonly sql: postgres.Sql;

  private constructor(url: string) {
    this.url = url;
    this.sql = postgres(url.replace(/\?.*/, ""), { max: 2, fetch_types: false, onnotice: () => {} });
  }

  /** Connects to the one on this server, which the first test makes. */
  static async on(server: PostgresServer): Promise<TimedDatabase> {
    const url = databases.get(server) ?? await TimedDatabase.#make(server);
    databases.set(server, url);
    return new TimedDatabase(url);
  }

  static async #make(server: PostgresServer): Promise<string> {
    const url = await server.newDatabase();
    const name = new URL(url).pathname.slice(1);
    await server.query(
      name,
      `CREATE SCHEMA fake; CREATE TABLE fake.time (at timestamptz NOT NULL); INSERT INTO fake.time VALUES (now());
      CREATE FUNCTION fake.now() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT at FROM fake.time';
      CREATE FUNCTION fake.clock_timestamp() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT at FROM fake.time';
      ALTER DATABASE ${name} SET search_path = fake, pg_catalog`,
    );
    return url;
  }

  /** Empties the queue. */
  async clear(): Promise<void> {
    await this.sql.unsafe(`
      TRUNCATE mailapp.entry, mailapp.recipient, mailapp.body, mailapp.dot, mailapp.notice, mailapp.host,
        mailapp.slot, mailapp.slot_wait, mailapp.pause`);
  }

  /** Sets its clock, to milliseconds since the epoch. */
  async setTime(ms: number): Promise<void> {
    await this.sql`UPDATE fake.time SET at = to_timestamp(${ms / 1000}::float8)`;
  }

  /** Milliseconds until something is due that nobody has, as claims see it; `Infinity`: never. */
  async untilDue(horizon: number): Promise<number> {
    const [row] = await this.sql<{ wait: number | null }[]>`
      SELECT extract(epoch FROM min(GREATEST(due_at - ${horizon} * interval '1 ms', dot_until)) - now())::float8
        * 1000 AS wait FROM mailapp.entry WHERE owner IS NULL AND due_at < 'infinity' AND head IS NOT NULL`;
    return row?.wait ?? Infinity;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.sql.end({ timeout: 1 });
  }
}
