/**
 * Statements about the slots of hosts.
 *
 * @module
 */
import type { Sql } from "./database.ts";

/** Takes as many slots of each key as are wanted and free. */
export function takeSlots(
  sql: Sql,
  { id, keys, most }: { readonly id: string; readonly keys: string; readonly most: number },
): Promise<readonly { readonly key: string; readonly number: number }[]> {
  // In order, so that no two processes wait for each other.
  return sql<{ key: string; number: number }[]>`
    WITH free AS (
      SELECT w.key, n.number
      FROM json_to_recordset(${keys}::text::json) AS w (key text, count integer),
        LATERAL (
          SELECT g.number FROM generate_series(0, ${most}::integer - 1) AS g (number)
          WHERE NOT EXISTS (SELECT FROM mailapp.slot AS s JOIN mailapp.host AS h ON h.id = s.owner AND NOT h.dead
            WHERE s.key = w.key AND s.number = g.number)
          ORDER BY random() LIMIT w.count
        ) AS n
      WHERE EXISTS (SELECT FROM mailapp.host WHERE id = ${id}::bigint AND NOT dead)
      ORDER BY w.key, n.number
    )
    INSERT INTO mailapp.slot AS taken (key, number, owner) SELECT key, number, ${id}::bigint FROM free
    ON CONFLICT (key, number) DO UPDATE SET owner = excluded.owner
      WHERE NOT EXISTS (SELECT FROM mailapp.host AS h WHERE h.id = taken.owner AND NOT h.dead)
    RETURNING key, number`;
}

/** The slots of a process; `sharers`: how many processes use or want some of the key, where others wait. */
export function slotsOf(
  sql: Sql,
  id: string,
): Promise<readonly { readonly key: string; readonly number: number; readonly sharers: number | null }[]> {
  return sql<{ key: string; number: number; sharers: number | null }[]>`
    SELECT s.key, s.number, (
      SELECT CASE WHEN bool_or(u.waits AND u.owner <> ${id}::bigint) THEN count(DISTINCT u.owner)::integer END
      FROM (
        SELECT owner, false AS waits FROM mailapp.slot WHERE key = s.key
        UNION ALL
        SELECT owner, true FROM mailapp.slot_wait WHERE key = s.key AND until > clock_timestamp()
      ) AS u JOIN mailapp.host AS h ON h.id = u.owner AND NOT h.dead
    ) AS sharers
    FROM mailapp.slot AS s WHERE s.owner = ${id}::bigint`;
}
