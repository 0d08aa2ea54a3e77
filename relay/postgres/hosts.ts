/**
 * The hosts of a queue, for whoever runs them.
 *
 * @module
 */
import type { Database } from "./database.ts";

/** A process that owns entries, or did so within the last day. */
export interface HostView {
  /** Its number. */
  readonly owner: number;
  /** Its name. */
  readonly name: string;
  readonly pid: number;
  /** The version of its program. */
  readonly program: string;
  /** Milliseconds since it joined. */
  readonly age: number;
  /** Milliseconds since it was last heard of. */
  readonly silence: number;
  /** Entries that it owns. */
  readonly entries: number;
  /** `gone`: its lease is over; `draining`: it no longer claims messages. */
  readonly state: "serving" | "draining" | "gone";
}

/** What no host has at present. */
export interface FreeEntries {
  /** Entries that wait for their time. */
  readonly waiting: number;
  /** Those whose time has come. */
  readonly due: number;
  /** Entries that are held, or that cannot be read. */
  readonly held: number;
  /** Entries that cannot be read. */
  readonly unreadable: number;
}

/**
 * The hosts, the latest to join first, and what none of them has. A process that is gone, has no entries and has a
 * successor of its name is left out: a host that cannot commit leaves one with each try to join.
 */
export async function viewHosts(
  database: Database,
): Promise<{ readonly hosts: readonly HostView[]; readonly free: FreeEntries }> {
  const hosts = await database.run((sql) =>
    sql`
      SELECT id, name, pid, program, extract(epoch FROM now() - started_at)::float8 * 1000 AS age,
        extract(epoch FROM now() - seen_at)::float8 * 1000 AS silence,
        (SELECT count(*)::integer FROM mailapp.entry WHERE owner = host.id AND head IS NOT NULL) AS entries,
        CASE WHEN dead OR lease_until < now() THEN 'gone' WHEN draining THEN 'draining' ELSE 'serving' END AS state
      FROM mailapp.host
      WHERE NOT ((dead OR lease_until < now())
        AND EXISTS (SELECT FROM mailapp.host AS later WHERE later.name = host.name AND later.id > host.id)
        AND NOT EXISTS (SELECT FROM mailapp.entry WHERE owner = host.id AND head IS NOT NULL))
      ORDER BY id DESC LIMIT 1000`
  );
  const [free] = await database.run((sql) =>
    sql`
      SELECT count(*) FILTER (WHERE due_at > now() AND due_at < 'infinity')::integer AS waiting,
        count(*) FILTER (WHERE due_at <= now())::integer AS due,
        count(*) FILTER (WHERE due_at = 'infinity' AND unreadable IS NULL)::integer AS held,
        count(*) FILTER (WHERE unreadable IS NOT NULL)::integer AS unreadable
      FROM mailapp.entry WHERE owner IS NULL AND head IS NOT NULL`
  );
  return {
    hosts: hosts.map(({ id, ...rest }) => ({ owner: Number(id), ...rest }) as HostView),
    free: free as unknown as FreeEntries,
  };
}

/** What all hosts have for one domain. */
export interface DomainView {
  /** Messages with an open recipient there; at most {@linkcode MOST_COUNTED} recipients are counted. */
  readonly messages: number;
  /** Those that hosts have; the others wait for their time. */
  readonly hosts: readonly { readonly name: string; readonly messages: number }[];
}

/** Recipients of one domain that are counted. */
export const MOST_COUNTED = 100_000;

/** What the whole queue has for one domain. */
export async function viewDomain(database: Database, domain: string): Promise<DomainView> {
  const rows = await database.run((sql) =>
    sql<{ name: string | null; messages: number }[]>`
      SELECT h.name, count(DISTINCT r.entry)::integer AS messages
      FROM (SELECT entry FROM mailapp.recipient
        WHERE domain = ${domain} AND status IN ('pending', 'held') LIMIT ${MOST_COUNTED}) AS r
      JOIN mailapp.entry AS e ON e.id = r.entry
      LEFT JOIN mailapp.host AS h ON h.id = e.owner AND NOT h.dead
      GROUP BY h.name ORDER BY h.name`
  );
  return {
    messages: rows.reduce((sum, { messages }) => sum + messages, 0),
    hosts: rows.flatMap(({ name, messages }) => name === null ? [] : [{ name, messages }]),
  };
}

/**
 * Lets the hosts of a name claim nothing more and give back what they are not sending, or claim again.
 * @returns how many there are
 */
export async function drainHosts(
  database: Database,
  { name, draining }: { readonly name: string; readonly draining: boolean },
): Promise<number> {
  const { count } = await database.run((sql) =>
    sql`UPDATE mailapp.host SET draining = ${draining} WHERE name = ${name} AND NOT dead`
  );
  return count;
}
