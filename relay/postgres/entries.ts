/**
 * Statements about whole entries: how one comes into the queue, and what is done when that is unknown.
 *
 * @module
 */
import { concat } from "../../base/concat.ts";
import type { Clock } from "../../base/clock.ts";
import type { NewEntry } from "../queue.ts";
import { type Database, DatabaseError, type Sql } from "./database.ts";
import { CHANNEL } from "./channel.ts";
import { NO_STANDBY } from "./queue_options.ts";
import { dueAt, headText, type Offset, type OpenDot, plain, recipientRows } from "./rows.ts";

/** What is read of an entry. */
export interface EntryRow {
  readonly id: string;
  readonly head: string;
  readonly state: string | null;
  readonly dots: readonly OpenDot[];
  /** The name of the host that has it; `null`: none. */
  readonly host: string | null;
  /** Recipients whose final dot has no answer yet. */
  readonly sending: readonly number[];
}

/** Reads an entry, whoever owns it; `undefined` when there is none. Dots that may still be answered are left out. */
export async function readRow(database: Database, id: string): Promise<EntryRow | undefined> {
  return (await readRows(database, [id]))[0];
}

/** Reads entries as {@linkcode readRow} does, in the order of their ids. */
export async function readRows(database: Database, ids: readonly string[]): Promise<EntryRow[]> {
  const rows = await database.run((sql) =>
    sql<
      (Omit<EntryRow, "dots" | "sending"> & {
        readonly dots: readonly OpenDot[] | null;
        readonly sending: readonly number[] | null;
      })[]
    >`
      SELECT id, head, state,
        (SELECT name FROM mailapp.host AS h WHERE h.id = e.owner AND NOT h.dead) AS host,
        (SELECT json_agg(recipient) FROM mailapp.dot AS d WHERE d.entry = e.id AND NOT d.relayed
          AND d.owner = e.owner) AS sending,
        (SELECT json_agg(json_build_object('recipient', recipient, 'host', host, 'address', address, 'at', at,
            'until', (extract(epoch FROM least(greatest(until, 'epoch'), now())) * 1000)::bigint, 'relayed', relayed))
          FROM mailapp.dot AS d WHERE d.entry = e.id
          AND (d.relayed OR (d.owner IS DISTINCT FROM e.owner AND d.until <= now()))) AS dots
      FROM mailapp.entry AS e
      WHERE id = ANY (ARRAY(SELECT json_array_elements_text(${JSON.stringify(ids)}::text::json)))
        AND head IS NOT NULL AND unreadable IS NULL
      ORDER BY id`
  );
  return rows.map((row) => ({ ...row, dots: row.dots ?? [], sending: row.sending ?? [] }));
}

/** The first `most` ids after one, of entries that can be read; with a recipient in the domain, if one is given. */
export async function idsAfter(
  database: Database,
  { after, domain, most }: {
    readonly after: string;
    readonly domain: string | undefined;
    readonly most: number;
  },
): Promise<string[]> {
  const rows = await database.run((sql) =>
    domain === undefined
      ? sql<{ id: string }[]>`
        SELECT id FROM mailapp.entry WHERE id > ${after} AND head IS NOT NULL AND unreadable IS NULL
        ORDER BY id LIMIT ${most}`
      : sql<{ id: string }[]>`
        SELECT DISTINCT r.entry AS id FROM mailapp.recipient AS r JOIN mailapp.entry AS e ON e.id = r.entry
        WHERE r.domain = ${domain} AND r.entry > ${after} AND e.head IS NOT NULL AND e.unreadable IS NULL
        ORDER BY r.entry LIMIT ${most}`
  );
  return rows.map(({ id }) => id);
}

/** What there is of a new entry. */
export interface Insertion extends Offset {
  readonly entry: NewEntry;
  readonly body: {
    readonly check: string;
    readonly parts: () => AsyncIterable<Uint8Array>;
    /** Whether its id is kept when it is gone, as those of notices are. */
    readonly remember: boolean;
    /** Whether it is added again under the same id where that has failed. */
    readonly isRetried: boolean;
  };
  /** Whose it is. */
  readonly owner: string;
}

/** An entry with the first part of its message. */
export interface FirstPart extends Omit<Insertion, "body"> {
  readonly body: Omit<Insertion["body"], "parts">;
  readonly bytes: Uint8Array;
}

// A large message takes its time.
const INSERT_WITHIN = 60_000;

/**
 * Inserts an entry with its recipients and its message, in one transaction.
 * @param options `insertWhole`: inserts one whose message is in one part; `needsStandby` as in {@linkcode insertFirst}
 * @returns the message where it is in one part
 */
export async function insertEntry(
  database: Database,
  insertion: Insertion,
  { insertWhole, needsStandby }: {
    readonly insertWhole: (first: FirstPart) => Promise<void>;
    readonly needsStandby: boolean;
  },
): Promise<Uint8Array | undefined> {
  const { entry, body } = insertion;
  const parts = body.parts()[Symbol.asyncIterator]();
  const { value: bytes = new Uint8Array() } = await parts.next();
  const second = bytes.length === 0 ? undefined : (await parts.next()).value;
  if (second === undefined) {
    await insertWhole({ ...insertion, bytes });
    return bytes;
  }
  await database.run((sql) =>
    sql.begin(async (transaction) => {
      await insertFirst(transaction as unknown as Sql, [{ ...insertion, bytes }], { needsStandby });
      let part = 1;
      for (
        let bytes: Uint8Array | undefined = second;
        bytes !== undefined;
        bytes = (await parts.next()).value
      ) {
        await transaction`INSERT INTO mailapp.body (entry, part, bytes) VALUES (${entry.id}, ${part++}, ${bytes})`;
      }
    }), { within: INSERT_WITHIN });
  return undefined;
}

/**
 * Inserts entries, each with its recipients and the first part of its message, in one statement.
 * @throws {DatabaseError} also where there is no synchronous standby, and `needsStandby` asks for one: a server that has
 * just been promoted may have none
 */
export async function insertFirst(
  sql: Sql,
  insertions: readonly FirstPart[],
  { needsStandby }: { readonly needsStandby: boolean },
): Promise<void> {
  let at = 1;
  const entries = insertions.map(({ entry, body, owner, offset, bytes }) => {
    const due = dueAt(entry, { offset });
    const first = at;
    at += bytes.length;
    return {
      id: entry.id,
      head: headText(entry, { check: body.check, offset }),
      reverse_path: plain(entry.reversePath),
      size: entry.size,
      owner,
      due: due === Infinity ? null : due / 1000,
      remember: body.remember,
      at: first,
      octets: bytes.length,
    };
  });
  const recipients = insertions.flatMap(({ entry, offset }) =>
    recipientRows(entry, { offset }).map((row) => ({ entry: entry.id, ...row }))
  );
  // Base64 is smaller than what a parameter of type bytea is sent as.
  const bytes = concat(...insertions.map(({ bytes }) => bytes)).toBase64();
  const { count } = await sql`
    WITH x AS (
      SELECT * FROM json_to_recordset(${JSON.stringify(entries)}::text::json) AS x (id text, head text,
        reverse_path text, size bigint, owner bigint, due float8, remember boolean, at integer, octets integer)
      WHERE NOT ${needsStandby} OR current_setting('synchronous_standby_names') <> ''
    ), b AS MATERIALIZED (
      SELECT decode(${bytes}::text, 'base64') AS bytes
    ), added AS (
      INSERT INTO mailapp.entry (id, head, reverse_path, size, owner, due_at)
      SELECT id, head, reverse_path, size, owner,
        CASE WHEN due IS NULL THEN 'infinity' ELSE to_timestamp(due) END FROM x
    ), recipients AS (
      INSERT INTO mailapp.recipient (entry, number, address, domain, status, next_at, settled, notice)
      SELECT entry, number, address, domain, status, next_at, settled, notice
      FROM json_to_recordset(${JSON.stringify(recipients)}::text::json) AS r (entry text, number integer,
        address text, domain text, status text, next_at bigint, settled boolean, notice text)
      WHERE entry IN (SELECT id FROM x)
    ), notices AS (
      INSERT INTO mailapp.notice (id) SELECT id FROM x WHERE reverse_path = '' OR remember
    )
    INSERT INTO mailapp.body (entry, part, bytes)
    SELECT x.id, 0, substring(b.bytes FROM x.at FOR x.octets) FROM x, b`;
  if (count < insertions.length) throw withoutStandby();
}

function withoutStandby(): DatabaseError {
  return new DatabaseError(new Error(NO_STANDBY), { isCertain: true });
}

// Milliseconds.
const SETTLE_WITHIN = 60_000;
const SETTLE_AGAIN = 1_000;

/**
 * Whether an entry is in the queue although its transaction was not answered. Takes its id, so that it cannot come any
 * more where it is not, unless it will be added again under that; where it is there, another transaction follows it, whose
 * confirmation holds for it, too.
 * @returns `undefined` where that cannot be determined for a minute
 */
export async function isThereAfterAll(
  database: Database,
  { id, isRetried, error, clock, needsStandby }: {
    readonly id: string;
    readonly isRetried: boolean;
    readonly error: unknown;
    readonly clock: Clock;
    readonly needsStandby: boolean;
  },
): Promise<boolean | undefined> {
  if (!(error instanceof DatabaseError) || error.isCertain) return false;
  const until = clock.monotonic() + SETTLE_WITHIN;
  for (;;) {
    try {
      return (isRetried || !await takeId(database, id)) && await touch(database, { id, needsStandby });
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error;
      if (clock.monotonic() >= until) return undefined;
    }
    await new Promise<void>((resolve) => clock.after(SETTLE_AGAIN, resolve));
  }
}

/** Sees to it that an entry is not in the queue, and does not come into it. */
export async function withdraw(database: Database, id: string): Promise<void> {
  if (await takeId(database, id)) return;
  await database.run((sql) =>
    sql`
      WITH gone AS (DELETE FROM mailapp.entry WHERE id = ${id} RETURNING id),
        recipients AS (DELETE FROM mailapp.recipient AS r USING gone WHERE r.entry = gone.id),
        bodies AS (DELETE FROM mailapp.body AS b USING gone WHERE b.entry = gone.id)
      SELECT FROM gone`
  );
}

/** Takes an id, if nothing has it; waits for a transaction that is about to. */
async function takeId(database: Database, id: string): Promise<boolean> {
  const { count } = await database.run((sql) =>
    sql`
      INSERT INTO mailapp.entry (id, reverse_path, size, due_at) VALUES (${id}, '', 0, 'infinity')
      ON CONFLICT (id) DO NOTHING`
  );
  return count > 0;
}

/** Asks the owner of an entry for it. */
export async function want(database: Database, id: string): Promise<void> {
  await database.run(async (sql) => {
    await sql`UPDATE mailapp.entry SET wanted = true WHERE id = ${id} AND owner IS NOT NULL AND NOT wanted`;
    await sql`SELECT pg_notify(${CHANNEL}, '')`;
  }, { lazy: true });
}

/** Whether there is a message under an id, durably: not one that {@linkcode takeId} has put there. */
async function touch(
  database: Database,
  { id, needsStandby }: { readonly id: string; readonly needsStandby: boolean },
): Promise<boolean> {
  const [row] = await database.run((sql) =>
    sql<{ readonly standbys: string }[]>`
      UPDATE mailapp.entry SET size = size WHERE id = ${id} AND head IS NOT NULL
      RETURNING current_setting('synchronous_standby_names') AS standbys`
  );
  if (needsStandby && row?.standbys === "") throw withoutStandby();
  return row !== undefined;
}
