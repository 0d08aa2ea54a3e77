/**
 * Which entries this process owns: it claims what is free and due, in batches that no other process waits for, and gives
 * back what waits. A notification wakes it; it looks every other second all the same.
 *
 * @module
 */
import type { Clock, Timer } from "../../base/clock.ts";
import { errorText } from "../../base/error_text.ts";
import type { Logger } from "../../base/log.ts";
import type { QueueFollower, QueueSummary } from "../queue.ts";
import { MOST_LOCKED } from "./batches.ts";
import { CHANNEL } from "./channel.ts";
import { type Database, DatabaseError } from "./database.ts";
import { want } from "./entries.ts";
import type { HostLease } from "./host_lease.ts";
import type { RecipientRow } from "./rows.ts";
import { freeEntries, freeUnlocked } from "./statements.ts";

/** An entry that was just claimed. */
export interface Claimed {
  readonly id: string;
  readonly reverse_path: string;
  /** Whether a former owner has left dots in it. */
  readonly has_dots: boolean;
  readonly recipients: readonly Omit<RecipientRow, "address" | "number">[] | null;
}

/** What {@linkcode Claims} need. */
export interface ClaimsOptions {
  readonly database: Database;
  readonly lease: HostLease;
  readonly clock: Clock;
  /** Takes `queue.claim_failed` and `queue.host_dead`. */
  readonly logger: Logger;
  /** Milliseconds between looks for hosts that have died. */
  readonly sweepEvery: number;
  /** Reads what was claimed; `undefined` where it cannot be read. */
  readonly summarize: (claimed: Claimed) => Promise<QueueSummary | undefined>;
  /** Called with each entry that is given back: what is known of it no longer holds. */
  readonly givenBack: (id: string) => void;
}

/** What is due later than this, in milliseconds, is given back. */
export const HORIZON = 5_000;

const LOOK_EVERY = 2_000;
// Milliseconds. An owner looks every other second at the latest.
const OBTAIN_WITHIN = 5_000;
const OBTAIN_AGAIN = 100;
const BATCH = 100;
/** Entries that one process owns at a time; what is beyond stays free for others. */
const MAX_HELD = 20_000;
/** An entry that is still being worked on under an earlier lease is left alone for so long, in milliseconds. */
const BUSY_WAIT = 2 * HORIZON;
/** What is given back within this time, in milliseconds, goes in one statement. */
const GIVE_BACK_WITHIN = 20;
const COMPARE_EVERY = 60_000;
const TIDY_EVERY = 3_600_000;

/** The entries of this process, by id; `offered`: the follower works on it. */
export class Claims implements AsyncDisposable {
  readonly #options: ClaimsOptions;
  readonly #held = new Map<string, { offered: boolean }>();
  /** What is given back as far as this process goes, with the milliseconds until it is due. */
  #returned = new Map<string, number>();
  #returning: Promise<void> = Promise.resolve();
  #returnTimer: Timer | undefined;
  #follower: QueueFollower | undefined;
  #looking: Promise<void> | undefined;
  #lookAgain = false;
  #lookTimer: Timer | undefined;
  #sweepTimer: Timer | undefined;
  #sweeping: Promise<void> | undefined;
  #tidiedAt = -Infinity;
  #comparedAt = -Infinity;
  #failing = false;
  #closed = false;

  /** Owns nothing yet. */
  constructor(options: ClaimsOptions) {
    this.#options = options;
    this.#sleepUntilSweep(1000);
  }

  /** How many entries this process owns. */
  get size(): number {
    return this.#held.size;
  }

  /** Who is offered entries from now on; `undefined`: no one. */
  set follower(follower: QueueFollower | undefined) {
    this.#follower = follower;
    if (follower !== undefined) this.look();
  }

  /** Whether this process owns an entry. */
  has(id: string): boolean {
    return this.#held.has(id);
  }

  /** Notes an entry that belongs to this process. */
  note(id: string, { offered }: { readonly offered: boolean }): void {
    this.#held.set(id, { offered });
  }

  /** Notes that an entry does not. */
  forget(id: string): void {
    this.#held.delete(id);
  }

  /** Owns nothing any more. */
  lost(): void {
    this.#held.clear();
    this.#returned.clear();
    this.#follower?.lost();
  }

  /** Gives an entry back unless it is due soon; see `SharedQueue.giveBack`. */
  giveBack(id: string, wait: number): boolean {
    const held = this.#held.get(id);
    if (held === undefined || (held.offered && wait <= HORIZON)) return false;
    this.#return(id, wait);
    return true;
  }

  /** Claims an entry without an owner; whether it is this process's now. */
  async claimOne(id: string): Promise<boolean> {
    const { database, lease: { id: owner } } = this.#options;
    if (owner === undefined) return false;
    await this.returned();
    this.note(id, { offered: false });
    let claimed = false;
    try {
      const rows = await database.run((sql) =>
        sql`
          UPDATE mailapp.entry SET owner = ${owner}::bigint WHERE id = ${id} AND owner IS NULL AND head IS NOT NULL
            AND (dot_until IS NULL OR dot_until <= now())
            AND EXISTS (SELECT FROM mailapp.host WHERE id = ${owner}::bigint AND NOT dead)
          RETURNING id`
      );
      claimed = rows.length > 0;
    } finally {
      if (!claimed) this.forget(id);
    }
    return claimed;
  }

  /** Claims an entry, for which its owner is asked where it has one; whether it is this process's now. */
  async obtain(id: string): Promise<boolean> {
    const { database, clock } = this.#options;
    const until = clock.monotonic() + OBTAIN_WITHIN;
    for (;;) {
      if (this.has(id) || await this.claimOne(id)) return true;
      const [row] = await database.run((sql) => sql`SELECT FROM mailapp.entry WHERE id = ${id}`);
      if (row === undefined || clock.monotonic() >= until) return false;
      await want(database, id);
      await new Promise<void>((resolve) => clock.after(OBTAIN_AGAIN, resolve));
    }
  }

  /** Resolves when what was given back is free for others. */
  async returned(): Promise<void> {
    this.#returnNow();
    await this.#returning;
  }

  /** Looks for entries that are free and due, now. */
  look(): void {
    this.#lookAgain = true;
    this.#looking ??= this.#lookNow().finally(() => {
      this.#looking = undefined;
      this.#sleep();
    });
  }

  /** Gives back all there is. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#follower = undefined;
    for (const timer of [this.#lookTimer, this.#sweepTimer]) timer?.cancel();
    await Promise.all([this.#looking, this.#sweeping]);
    await this.returned();
    const { database, lease: { id } } = this.#options;
    this.#held.clear();
    if (id === undefined) return;
    await database.run(async (sql) => {
      await freeUnlocked(sql, { owner: id });
      await sql`SELECT pg_notify(${CHANNEL}, '')`;
    }).catch(() => {});
  }

  #sleep(): void {
    this.#lookTimer?.cancel();
    if (this.#closed || this.#follower === undefined) return;
    this.#lookTimer = this.#options.clock.after(LOOK_EVERY, () => this.look());
  }

  async #lookNow(): Promise<void> {
    try {
      if (this.#options.clock.monotonic() - this.#comparedAt >= COMPARE_EVERY) await this.#compare();
      while (this.#lookAgain && !this.#closed) {
        this.#lookAgain = false;
        await this.#giveWanted();
        while (await this.#claim() === BATCH && !this.#closed);
      }
      this.#failing = false;
    } catch (error) {
      // Once for each time that the database is away.
      if (!this.#failing) this.#options.logger.error("queue.claim_failed", { error: errorText(error) });
      this.#failing = true;
      // The answer may have been lost, and not the claim.
      this.#comparedAt = -Infinity;
    }
  }

  /** Frees what bears the number of this process and is not known here. */
  async #compare(): Promise<void> {
    const { database, lease: { id: owner }, clock } = this.#options;
    if (owner === undefined) return;
    await this.returned();
    const rows = await database.run((sql) =>
      sql<{ id: string }[]>`SELECT id FROM mailapp.entry WHERE owner = ${owner}::bigint`
    );
    const unknown = rows.map(({ id }) => id).filter((id) => !this.#held.has(id) && !this.#returned.has(id));
    if (unknown.length > 0) {
      await database.run((sql) => freeUnlocked(sql, { owner, ids: unknown }));
    }
    this.#comparedAt = clock.monotonic();
  }

  /** Claims some entries; how many there were. */
  async #claim(): Promise<number> {
    const { database, lease, summarize } = this.#options;
    const { id: owner, draining } = lease;
    const follower = this.#follower;
    const most = Math.min(BATCH, MAX_HELD - this.#held.size);
    if (owner === undefined || draining || follower === undefined || most <= 0) return 0;
    const rows = await database.run((sql) =>
      sql<Claimed[]>`
        WITH free AS (
          SELECT id FROM mailapp.entry
          WHERE owner IS NULL AND due_at <= now() + ${HORIZON}::float8 * interval '1 ms'
            AND (dot_until IS NULL OR dot_until <= now())
          ORDER BY due_at LIMIT ${most} FOR UPDATE SKIP LOCKED
        ), claimed AS (
          UPDATE mailapp.entry AS e SET owner = ${owner}::bigint, wanted = false FROM free
          WHERE e.id = free.id AND EXISTS (SELECT FROM mailapp.host WHERE id = ${owner}::bigint AND NOT dead)
          RETURNING e.id, e.reverse_path
        )
        SELECT c.id, c.reverse_path,
          EXISTS (SELECT FROM mailapp.dot AS d WHERE d.entry = c.id) AS has_dots,
          (SELECT json_agg(json_build_object('domain', domain, 'status', status, 'next_at', next_at,
            'settled', settled, 'notice', notice)) FROM mailapp.recipient AS r WHERE r.entry = c.id) AS recipients
        FROM claimed AS c`, { lazy: true });
    for (const row of rows) {
      // The lease may have been lost, and all of this with it, while a former one was read.
      if (lease.id !== owner) return 0;
      this.#held.set(row.id, { offered: true });
      if (this.#follower === undefined || follower.isOpen(row.id)) {
        this.#return(row.id, BUSY_WAIT);
        continue;
      }
      const summary = await summarize(row);
      if (summary === undefined || !this.#held.has(row.id)) continue;
      follower.offer(summary);
    }
    return rows.length;
  }

  /** Gives back what others want, if it is not in use, or all that can be where this host is to be emptied. */
  async #giveWanted(): Promise<void> {
    const { database, lease } = this.#options;
    const { id: owner, draining } = lease;
    if (owner === undefined || this.#held.size === 0) return;
    const ids = draining ? [...this.#held.keys()] : (await database.run((sql) =>
      sql<{ id: string }[]>`
        SELECT id FROM mailapp.entry WHERE owner = ${owner}::bigint AND wanted`, { lazy: true })).map((
        { id },
      ) => id);
    // Longer than the next claim looks ahead, so that whoever wants it gets it.
    for (const id of ids) {
      if (this.#held.has(id) && (this.#follower?.release(id) ?? true)) {
        this.#return(id, draining ? 0 : 2 * HORIZON);
      }
    }
    if (ids.length > 0) await this.returned();
  }

  #return(id: string, wait: number): void {
    this.#held.delete(id);
    this.#options.givenBack(id);
    this.#returned.set(id, wait);
    this.#returnTimer ??= this.#options.clock.after(GIVE_BACK_WITHIN, () => this.#returnNow());
  }

  #returnNow(): void {
    this.#returnTimer?.cancel();
    this.#returnTimer = undefined;
    if (this.#returned.size === 0) return;
    const returned = this.#returned;
    this.#returned = new Map();
    this.#returning = this.#returning.then(async () => void await this.#free(returned));
  }

  /** Whether they are free. Otherwise they are given back later. */
  async #free(returned: ReadonlyMap<string, number>): Promise<boolean> {
    const { database, lease: { id: owner } } = this.#options;
    // With the lease they are free anyway.
    if (owner === undefined) return true;
    try {
      await database.run((sql) => freeEntries(sql, { owner, waits: returned }));
      // Others need not wait until they look by themselves.
      if ([...returned.values()].some((wait) => wait <= HORIZON)) {
        await database.run((sql) => sql`SELECT pg_notify(${CHANNEL}, '')`, { lazy: true });
      }
      return true;
    } catch (error) {
      // Others need not wait for the one that somebody has locked.
      if (error instanceof DatabaseError && error.isLocked && returned.size > 1) {
        this.#returnLater(await this.#freeEach(returned));
      } else this.#returnLater(returned);
      return false;
    }
  }

  /** Frees each alone; returns what is left where too many are locked. */
  async #freeEach(returned: ReadonlyMap<string, number>): Promise<ReadonlyMap<string, number>> {
    const left = new Map(returned);
    let locked = 0;
    for (const [id, wait] of returned) {
      if (locked === MOST_LOCKED) break;
      left.delete(id);
      if (!await this.#free(new Map([[id, wait]]))) locked++;
    }
    return left;
  }

  /** Gives back what may still be this process's; what was claimed again meanwhile is not given back. */
  #returnLater(returned: ReadonlyMap<string, number>): void {
    if (this.#closed || returned.size === 0) return;
    const again = [...returned].filter(([id]) => !this.#held.has(id));
    // Before those that were found locked.
    this.#returned = new Map([...again, ...this.#returned]);
    this.#returnTimer ??= this.#options.clock.after(1000, () => this.#returnNow());
  }

  #sleepUntilSweep(wait: number): void {
    if (this.#closed) return;
    this.#sweepTimer = this.#options.clock.after(wait, () => {
      this.#sweeping = this.#sweep().catch(() => {}).finally(() => {
        this.#sweeping = undefined;
        this.#sleepUntilSweep(this.#options.sweepEvery);
      });
    });
  }

  /** Frees what hosts that have died have left, and those that are not there, as in a dump that was restored in part. */
  async #sweep(): Promise<void> {
    const { database, lease, logger, clock } = this.#options;
    const { id: own } = lease;
    if (own === undefined) return;
    // If the database's clock was set back, a lease would otherwise last as much longer; whoever lives renews it.
    await database.run((sql) =>
      sql`
        UPDATE mailapp.host SET lease_until = lease_until - (seen_at - clock_timestamp()), seen_at = clock_timestamp()
        WHERE NOT dead AND seen_at > clock_timestamp() + interval '1 second'`
    );
    const dead = await database.run((sql) =>
      sql`
        UPDATE mailapp.host SET dead = true
        WHERE NOT dead AND lease_until < clock_timestamp() AND id <> ${own}::bigint
        RETURNING id, name`
    );
    for (const { id, name } of dead) logger.warn("queue.host_dead", { host: name, owner: Number(id) });
    let freed = 0;
    for (let count = BATCH; count > 0 && !this.#closed; freed += count) {
      ({ count } = await database.run((sql) =>
        sql`
          UPDATE mailapp.entry SET owner = NULL WHERE id IN (
            SELECT id FROM mailapp.entry WHERE owner IS NOT NULL
              AND owner NOT IN (SELECT id FROM mailapp.host WHERE NOT dead)
            LIMIT 500 FOR UPDATE SKIP LOCKED)`, { lazy: true }));
    }
    if (freed > 0) await database.run((sql) => sql`SELECT pg_notify(${CHANNEL}, '')`, { lazy: true });
    if (clock.monotonic() - this.#tidiedAt < TIDY_EVERY) return;
    this.#tidiedAt = clock.monotonic();
    await database.run(async (sql) => {
      await sql`
        DELETE FROM mailapp.host WHERE dead AND seen_at < now() - interval '1 day'
          AND NOT EXISTS (SELECT FROM mailapp.entry WHERE owner = host.id)`;
      await sql`DELETE FROM mailapp.entry WHERE head IS NULL AND added_at < now() - interval '1 day' AND owner IS NULL`;
      await sql`DELETE FROM mailapp.notice WHERE added_at < now() - interval '60 days'`;
      await sql`
        DELETE FROM mailapp.slot WHERE NOT EXISTS (
          SELECT FROM mailapp.host WHERE id = slot.owner AND NOT dead)`;
      await sql`DELETE FROM mailapp.slot_wait WHERE until < now()`;
      await sql`DELETE FROM mailapp.pause WHERE until < now()`;
    }, { lazy: true });
  }
}
