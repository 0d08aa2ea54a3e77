/**
 * Connections to one host, counted over all processes: each is a numbered row, of which there are no more than the
 * limit. A process keeps its rows while it uses them, and for some seconds after that. It gives up what it has beyond
 * its share where another process waits. The rows of a process that is gone count no longer.
 *
 * Pauses that hosts ask for are told to all processes, and kept for those that join later.
 *
 * @module
 */
import type { Clock, Timer } from "../../base/clock.ts";
import { errorText } from "../../base/error_text.ts";
import type { Logger } from "../../base/log.ts";
import type { HostFailure } from "../host_slot.ts";
import type { HostPause, SharedHosts, SharedHostsFollower } from "../shared_hosts.ts";
import { CHANNEL } from "./channel.ts";
import { type Database, DatabaseError, type Sql } from "./database.ts";
import { slotsOf, takeSlots } from "./slot_statements.ts";

/** What {@linkcode HostSlots} need. */
export interface HostSlotsOptions {
  readonly database: Database;
  readonly clock: Clock;
  /** Takes `queue.error`. */
  readonly logger: Logger;
  /** The number of this process; `undefined` without a lease. */
  readonly owner: () => string | undefined;
}

/** Milliseconds. */
const SWEEP_EVERY = 2_000;
/** A notification is followed after this time, in milliseconds, as others may follow. */
const SWEEP_SOON = 20;
/** What is given up within this time, in milliseconds, goes in one statement. */
const GIVE_WITHIN = 20;
/** How long a process counts as waiting after it last said so, in milliseconds. */
const WAIT_FOR = 5 * SWEEP_EVERY;
/** Characters of a reply that others are told; the payload of a notification has 8,000 octets at most. */
const MAX_WORDS = 200;
/** Pauses that are read when they may have been missed. */
const MAX_PAUSES = 10_000;

/** The slots of this process. */
export class HostSlots implements SharedHosts, AsyncDisposable {
  readonly #options: HostSlotsOptions;
  /** The numbers of the rows of this process. */
  readonly #held = new Map<string, Set<number>>();
  /** For keys for which others wait: how many processes use or want slots. */
  #sharers = new Map<string, number>();
  /** Requests that could not be met, by their keys, with when the others were last told (monotonic). */
  readonly #waiting = new Map<string, { readonly keys: readonly string[]; toldAt: number }>();
  /** Slots that were not in use at the last sweep. */
  #spare = new Map<string, number>();
  /** What is asked for; each wants a slot of all of its keys, or none. */
  #requests: (readonly string[])[] = [];
  /** The limit as it was last given. */
  #most = 1;
  #taking: Promise<void> | undefined;
  #freed = new Set<string>();
  #giveTimer: Timer | undefined;
  #sweepTimer: Timer | undefined;
  #sweeping: Promise<void> | undefined;
  #follower: SharedHostsFollower | undefined;
  #closed = false;

  /** Has no slot. */
  constructor(options: HostSlotsOptions) {
    this.#options = options;
  }

  follow(follower: SharedHostsFollower): void {
    this.#follower = follower;
    this.#sleep();
    void this.#readPauses();
  }

  held(key: string): number {
    return this.#held.get(key)?.size ?? 0;
  }

  contested(key: string): boolean {
    return this.held(key) > this.#share(key);
  }

  /** How many slots this process may keep where others wait; `Infinity` where none does. */
  #share(key: string): number {
    const sharers = this.#sharers.get(key);
    return sharers === undefined ? Infinity : Math.floor(this.#most / sharers);
  }

  async take(keys: readonly string[], most: number): Promise<void> {
    this.#most = most;
    this.#requests.push(keys);
    // What is asked for while a statement is under way goes into the next one.
    while (this.#requests.includes(keys)) {
      this.#taking ??= this.#takeNow().finally(() => this.#taking = undefined);
      await this.#taking;
    }
    await this.#taking;
  }

  freed(key: string): void {
    if (!this.contested(key)) return;
    this.#freed.add(key);
    this.#giveTimer ??= this.#options.clock.after(GIVE_WITHIN, () => {
      this.#giveTimer = undefined;
      const freed = [...this.#freed];
      this.#freed.clear();
      void this.#give(freed.flatMap((key) => this.#surplus(key)));
    });
  }

  pause(key: string, { failure, pause }: HostPause): void {
    const { owner } = this.#options;
    const cut = JSON.stringify(brief(failure));
    const payload = JSON.stringify({ owner: owner(), key, failure: brief(failure), pause });
    void this.#run(async (sql) => {
      await sql`
        INSERT INTO mailapp.pause (key, until, failure)
        VALUES (${key}, clock_timestamp() + ${pause}::float8 * interval '1 ms', ${cut})
        ON CONFLICT (key) DO UPDATE SET until = GREATEST(pause.until, excluded.until), failure = excluded.failure`;
      await sql`SELECT pg_notify(${CHANNEL}, ${`pause ${payload}`})`;
    });
  }

  clear(): void {
    void this.#run(async (sql) => {
      await sql`DELETE FROM mailapp.pause`;
      await sql`SELECT pg_notify(${CHANNEL}, 'clear')`;
    });
  }

  /** Takes a notification; `undefined` where some may have been missed. */
  notified(payload: string | undefined): void {
    if (payload === undefined) void this.#readPauses();
    if (payload === "clear") this.#follower?.cleared();
    if (payload === undefined || payload === "slots") this.#sleep(SWEEP_SOON);
    if (!payload?.startsWith("pause ")) return;
    const { owner, key, failure, pause } = JSON.parse(payload.slice("pause ".length));
    if (owner !== this.#options.owner()) this.#follower?.paused(key, { failure, pause });
  }

  /** Has no slot any more, as its lease is over. */
  lost(): void {
    this.#held.clear();
    this.#sharers.clear();
    this.#spare.clear();
    // Destinations still wait: under the next lease it is asked and told again.
    for (const one of this.#waiting.values()) one.toldAt = -Infinity;
  }

  /** Gives up all. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#giveTimer?.cancel();
    this.#sweepTimer?.cancel();
    await Promise.all([this.#taking, this.#sweeping]);
    const { owner } = this.#options;
    const id = owner();
    if (id === undefined || (this.#held.size === 0 && this.#waiting.size === 0)) return;
    await this.#run(async (sql) => {
      await sql`DELETE FROM mailapp.slot WHERE owner = ${id}::bigint`;
      await sql`DELETE FROM mailapp.slot_wait WHERE owner = ${id}::bigint`;
      await sql`SELECT pg_notify(${CHANNEL}, 'slots')`;
    });
  }

  /** Runs statements that need not be durable; `undefined` where they fail. A later sweep puts right what is lost. */
  async #run<T>(work: (sql: Sql) => Promise<T>): Promise<T | undefined> {
    const { database, logger } = this.#options;
    try {
      return await database.run(work, { lazy: true });
    } catch (error) {
      if (!(error instanceof DatabaseError)) {
        logger.error("queue.error", { what: "the slots of hosts", error: errorText(error) });
      }
      return undefined;
    }
  }

  async #takeNow(): Promise<void> {
    const { owner } = this.#options;
    const id = owner();
    const requests = this.#requests;
    this.#requests = [];
    if (id === undefined || this.#closed) return this.#await(requests);
    const wanted = Map.groupBy(requests.flat(), (key) => key);
    // Where others wait, not beyond the share; what is left over goes to anyone.
    const asked = Array.from(wanted, ([key, { length }]) => ({
      key,
      count: Math.min(length, Math.ceil(this.#most / (this.#sharers.get(key) ?? 1)) - this.held(key)),
    })).filter(({ count }) => count > 0);
    const keys = JSON.stringify(asked);
    const rows = await this.#run((sql) => takeSlots(sql, { id, keys, most: this.#most })) ?? [];
    // Under another lease they are not ours.
    if (owner() !== id) return this.#await(requests);
    const unmet: (readonly string[])[] = [];
    const free = Map.groupBy(rows, ({ key }) => key);
    for (const request of requests) {
      if (request.some((key) => !free.get(key)?.length)) {
        unmet.push(request);
        continue;
      }
      for (const { key, number } of request.flatMap((key) => free.get(key)?.pop() ?? [])) {
        this.#hold(key, number);
      }
    }
    // Of no use without the others.
    await this.#give([...free.values()].flat());
    const toldAt = this.#options.clock.monotonic();
    const fresh = unmet.filter((keys) => !this.#waiting.has(keys.join()));
    for (const keys of fresh) this.#waiting.set(keys.join(), { keys, toldAt });
    if (fresh.length > 0) await this.#sayWaiting(id, [...new Set(fresh.flat())], { notify: true });
  }

  /** Asks for these again when there is a lease. */
  #await(requests: readonly (readonly string[])[]): void {
    for (const keys of requests) this.#waiting.set(keys.join(), { keys, toldAt: -Infinity });
  }

  #hold(key: string, number: number): void {
    const held = this.#held.get(key);
    if (held === undefined) this.#held.set(key, new Set([number]));
    else held.add(number);
  }

  async #sayWaiting(
    id: string,
    keys: readonly string[],
    { notify }: { readonly notify: boolean },
  ): Promise<void> {
    await this.#run(async (sql) => {
      await sql`
        INSERT INTO mailapp.slot_wait (key, owner, until)
        SELECT key, ${id}::bigint, clock_timestamp() + ${WAIT_FOR}::float8 * interval '1 ms'
        FROM (SELECT DISTINCT json_array_elements_text(${JSON.stringify(keys)}::text::json) AS key) AS k
        ORDER BY key
        ON CONFLICT (key, owner) DO UPDATE SET until = excluded.until`;
      if (notify) await sql`SELECT pg_notify(${CHANNEL}, 'slots')`;
    });
  }

  #sleep(wait = SWEEP_EVERY): void {
    if (this.#closed || this.#follower === undefined) return;
    this.#sweepTimer?.cancel();
    this.#sweepTimer = this.#options.clock.after(wait, () => {
      this.#sweeping ??= this.#sweep().finally(() => {
        this.#sweeping = undefined;
        this.#sleep();
      });
    });
  }

  async #sweep(): Promise<void> {
    const { owner } = this.#options;
    const id = owner();
    const follower = this.#follower;
    if (id === undefined || follower === undefined) return;
    // Nothing is asked of the database by a process that sends nothing.
    if (this.#held.size > 0) {
      const before = new Map(Array.from(this.#held, ([key, numbers]) => [key, [...numbers]]));
      const rows = await this.#run((sql) => slotsOf(sql, id));
      if (rows === undefined || owner() !== id) return;
      const there = Map.groupBy(rows, ({ key }) => key);
      for (const [key, numbers] of before) {
        // A database that was restored, or lost its latest changes, may have given them to others.
        for (const number of numbers) {
          if (!there.get(key)?.some((row) => row.number === number)) this.#drop(key, number);
        }
      }
      this.#sharers = new Map(rows.flatMap(({ key, sharers }) => sharers === null ? [] : [[key, sharers]]));
      await this.#give([...this.#held.keys()].flatMap((key) => this.#surplus(key)));
    }
    await this.#takeForWaiting(id, follower);
  }

  /** Asks again for what others had; whatever no one waits for any more is over. */
  async #takeForWaiting(id: string, follower: SharedHostsFollower): Promise<void> {
    // Some began to wait after their request was given up, or for a slot that was given to others since.
    const asking = new Set([...this.#waiting.values()].flatMap(({ keys }) => keys));
    for (const key of follower.lacking()) if (!asking.has(key)) this.#await([[key]]);
    if (this.#waiting.size === 0) return;
    const all = [...this.#waiting];
    // Several may wait for the same.
    const wanted = (keys: readonly string[]) => Math.max(...keys.map((key) => follower.waiting(key)));
    const asked = all.flatMap(([, { keys }]) =>
      Array.from({ length: Math.min(wanted(keys), this.#most) }, () => [...keys])
    );
    await Promise.all(asked.map((keys) => this.take(keys, this.#most)));
    for (const key of new Set(asked.flat())) follower.granted(key);
    for (const [name, { keys }] of all) if (wanted(keys) === 0) this.#waiting.delete(name);
    const now = this.#options.clock.monotonic();
    const left = [...this.#waiting.values()];
    const old = left.filter(({ toldAt }) => now - toldAt > WAIT_FOR / 2);
    for (const one of old) one.toldAt = now;
    if (old.length > 0) await this.#sayWaiting(id, old.flatMap(({ keys }) => keys), { notify: false });
    const keys = new Set(left.flatMap(({ keys }) => keys));
    const over = all.flatMap(([, one]) => one.keys).filter((key) => !keys.has(key));
    if (over.length > 0) {
      await this.#run((sql) =>
        sql`
          DELETE FROM mailapp.slot_wait WHERE owner = ${id}::bigint
            AND key IN (SELECT json_array_elements_text(${JSON.stringify(over)}::text::json))`
      );
    }
  }

  /** What is to be given up of a key: beyond the share where others wait, else what has been idle since the last sweep. */
  #surplus(key: string): { readonly key: string; readonly number: number }[] {
    const numbers = [...this.#held.get(key) ?? []];
    const follower = this.#follower;
    const idle = numbers.length - (follower?.active(key) ?? 0);
    const count = this.#sharers.has(key)
      ? Math.min(idle, numbers.length - this.#share(key))
      : (follower?.waiting(key) ?? 0) > 0
      ? 0
      : Math.min(idle, this.#spare.get(key) ?? 0);
    if (idle > 0) this.#spare.set(key, idle);
    else this.#spare.delete(key);
    return count <= 0 ? [] : numbers.slice(-count).map((number) => ({ key, number }));
  }

  async #give(slots: readonly { readonly key: string; readonly number: number }[]): Promise<void> {
    const { owner } = this.#options;
    const id = owner();
    if (slots.length === 0 || id === undefined) return;
    for (const { key, number } of slots) this.#drop(key, number);
    const keys = [...new Set(slots.map(({ key }) => key))];
    const given = await this.#run(async (sql) => {
      await sql`
        DELETE FROM mailapp.slot AS s
        USING json_to_recordset(${JSON.stringify(slots)}::text::json) AS x (key text, number integer)
        WHERE s.key = x.key AND s.number = x.number AND s.owner = ${id}::bigint`;
      await sql`
        SELECT pg_notify(${CHANNEL}, 'slots') WHERE EXISTS (
          SELECT FROM mailapp.slot_wait AS w WHERE w.owner <> ${id}::bigint AND w.until > now()
            AND w.key IN (SELECT json_array_elements_text(${JSON.stringify(keys)}::text::json)))`;
      return true;
    });
    // Still in its name: they are used, or given up later.
    if (!given && owner() === id) { for (const { key, number } of slots) this.#hold(key, number); }
  }

  #drop(key: string, number: number): void {
    const held = this.#held.get(key);
    held?.delete(number);
    if (held?.size !== 0) return;
    this.#held.delete(key);
    this.#sharers.delete(key);
    this.#spare.delete(key);
  }

  async #readPauses(): Promise<void> {
    const rows = await this.#run((sql) =>
      sql<{ key: string; failure: string; pause: number }[]>`
        SELECT key, failure, extract(epoch FROM until - now())::float8 * 1000 AS pause FROM mailapp.pause
        WHERE until > now() ORDER BY until DESC LIMIT ${MAX_PAUSES}`
    );
    for (const { key, failure, pause } of rows ?? []) {
      this.#follower?.paused(key, { failure: JSON.parse(failure), pause });
    }
  }
}

/** Short enough for a notification. */
function brief({ status, error, reply }: HostFailure): HostFailure {
  return {
    status,
    ...(error !== undefined && { error: error.slice(0, MAX_WORDS) }),
    ...(reply !== undefined && { reply: reply.slice(0, MAX_WORDS) }),
  };
}
