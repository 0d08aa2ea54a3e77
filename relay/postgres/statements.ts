/**
 * The changes of entries. Each is one statement, and so one transaction, that names the owner: what another host has by
 * now it does not change. Read them together to see that owner, dots and due time stay right.
 *
 * @module
 */
import type { Sql } from "./database.ts";

/** An entry of this process. */
export interface Owned {
  readonly id: string;
  /** The lease under which this process has the entry. */
  readonly owner: string;
}

/** Whether it has changed the entry: a `count` above 0. */
export type Changed = Promise<{ readonly count: number }>;

/** Writes the state of an entry and of its recipients, and deletes the dots that the state covers. */
export function updateEntry(
  sql: Sql,
  { id, owner, state, rows, due, covered }: Owned & {
    readonly state: string;
    /** The rows of the recipients, in JSON. */
    readonly rows: string;
    /** Milliseconds since 1970 by the database's clock; `Infinity`: never. */
    readonly due: number;
    /** Dots whose outcome the state tells; `at: null`: all of the recipient. */
    readonly covered: readonly { readonly recipient: number; readonly at: number | null }[];
  },
): Changed {
  const dots = JSON.stringify(covered);
  return sql`
    WITH covered AS (
      DELETE FROM mailapp.dot AS d
      USING json_to_recordset(${dots}::text::json) AS x (recipient integer, at bigint),
        mailapp.entry AS e
      WHERE e.id = ${id} AND e.owner = ${owner}::bigint AND d.entry = e.id AND d.recipient = x.recipient
        AND (x.at IS NULL OR d.at = x.at)
      RETURNING d.recipient
    ), changed AS (
      UPDATE mailapp.recipient AS r
      SET status = x.status, next_at = x.next_at, settled = x.settled, notice = x.notice
      FROM json_to_recordset(${rows}::text::json)
        AS x (number integer, status text, next_at bigint, settled boolean, notice text), mailapp.entry AS e
      WHERE e.id = ${id} AND e.owner = ${owner}::bigint AND r.entry = e.id AND r.number = x.number
        AND (r.status, r.next_at, r.settled, r.notice) IS DISTINCT FROM
          (x.status, x.next_at, x.settled, x.notice)
    )
    UPDATE mailapp.entry SET state = ${state}, due_at = CASE WHEN ${due === Infinity} THEN 'infinity'
        ELSE to_timestamp(${due === Infinity ? 0 : due / 1000}::float8) END,
      dot_until = (SELECT max(until) FROM mailapp.dot AS d WHERE d.entry = ${id} AND NOT d.relayed
        AND d.recipient NOT IN (SELECT recipient FROM covered))
    WHERE id = ${id} AND owner = ${owner}::bigint`;
}

/** Deletes entries with all that belongs to them. @returns the ids of those that were there and are this process's */
export function deleteEntries(
  sql: Sql,
  entries: readonly Owned[],
): Promise<readonly { readonly id: string }[]> {
  const ids = JSON.stringify(entries.map(({ id, owner }) => ({ id, owner })));
  return sql<{ id: string }[]>`
    WITH gone AS (
      DELETE FROM mailapp.entry AS e USING json_to_recordset(${ids}::text::json) AS x (id text, owner bigint)
      WHERE e.id = x.id AND e.owner = x.owner RETURNING e.id
    ), recipients AS (DELETE FROM mailapp.recipient AS r USING gone WHERE r.entry = gone.id),
      dots AS (DELETE FROM mailapp.dot AS d USING gone WHERE d.entry = gone.id),
      bodies AS (DELETE FROM mailapp.body AS b USING gone WHERE b.entry = gone.id)
    SELECT id FROM gone`;
}

/** Final dots of one entry, to be noted before they are sent. */
export interface NewDots extends Owned {
  readonly recipients: readonly number[];
  readonly host: string;
  readonly address: string;
  readonly at: number;
  /** Milliseconds for which no other host may send the message. */
  readonly wait: number;
}

/** Notes final dots, of each entry once. @returns the ids of the entries that are this process's */
export function insertDots(sql: Sql, dots: readonly NewDots[]): Promise<readonly { readonly id: string }[]> {
  return sql<{ id: string }[]>`
    WITH held AS (
      UPDATE mailapp.entry AS e
      SET dot_until = GREATEST(e.dot_until, clock_timestamp() + x.wait * interval '1 ms')
      FROM json_to_recordset(${
    JSON.stringify(dots)
  }::text::json) AS x (id text, owner bigint, recipients json,
        host text, address text, at bigint, wait float8)
      WHERE e.id = x.id AND e.owner = x.owner
      RETURNING e.id, e.owner, e.dot_until, x.recipients, x.host, x.address, x.at
    ), noted AS (
      INSERT INTO mailapp.dot (entry, recipient, owner, host, address, at, until)
      SELECT id, n::integer, owner, host, address, at, dot_until
      FROM held, json_array_elements_text(held.recipients) AS n
      ON CONFLICT (entry, recipient) DO UPDATE SET owner = excluded.owner, host = excluded.host,
        address = excluded.address, at = excluded.at, until = excluded.until, relayed = false
    )
    SELECT id FROM held`;
}

/** Notes the answer to final dots: those that relayed the message are kept, the others deleted. */
export function settleDots(
  sql: Sql,
  { id, owner, recipients, relayed }: Owned & {
    readonly recipients: readonly number[];
    readonly relayed: boolean;
  },
): Changed {
  const numbers = JSON.stringify(recipients);
  return sql`
    WITH answered AS (
      SELECT json_array_elements_text(${numbers}::text::json)::integer AS recipient
    ), held AS (
      UPDATE mailapp.entry AS e SET dot_until = (SELECT max(until) FROM mailapp.dot AS d
          WHERE d.entry = e.id AND NOT d.relayed AND d.recipient NOT IN (SELECT recipient FROM answered)),
        due_at = CASE WHEN owner IS NULL THEN now() ELSE due_at END
      WHERE id = ${id} AND (owner = ${owner}::bigint OR owner IS NULL) RETURNING id
    ), deleted AS (
      DELETE FROM mailapp.dot AS d USING held, answered WHERE d.entry = held.id AND NOT ${relayed}
        AND d.recipient = answered.recipient AND d.owner = ${owner}::bigint
    ), kept AS (
      UPDATE mailapp.dot AS d SET relayed = true FROM held, answered WHERE d.entry = held.id AND ${relayed}
        AND d.recipient = answered.recipient AND d.owner = ${owner}::bigint
    )
    SELECT FROM held`;
}

/** Frees entries of an owner, which are due again after so many milliseconds each; `Infinity`: never. */
export function freeEntries(
  sql: Sql,
  { owner, waits }: { readonly owner: string; readonly waits: ReadonlyMap<string, number> },
): Changed {
  const rows = Array.from(
    waits,
    ([id, wait]) => ({ id, wait: wait === Infinity ? null : Math.max(0, wait) }),
  );
  return sql`
    UPDATE mailapp.entry AS e SET owner = NULL, wanted = false, due_at = CASE WHEN x.wait IS NULL
      THEN 'infinity' ELSE clock_timestamp() + x.wait * interval '1 ms' END
    FROM json_to_recordset(${JSON.stringify(rows)}::text::json) AS x (id text, wait float8)
    WHERE e.id = x.id AND e.owner = ${owner}::bigint`;
}

/** Frees those entries of an owner that nobody has locked. @param options `ids`: only these */
export function freeUnlocked(
  sql: Sql,
  { owner, ids }: { readonly owner: string; readonly ids?: readonly string[] },
): Changed {
  const all = ids === undefined;
  return sql`
    UPDATE mailapp.entry SET owner = NULL WHERE id IN (
      SELECT id FROM mailapp.entry WHERE owner = ${owner}::bigint
        AND (${all} OR id IN (SELECT json_array_elements_text(${JSON.stringify(ids ?? [])}::text::json)))
      FOR UPDATE SKIP LOCKED)`;
}
