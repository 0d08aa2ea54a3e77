/**
 * What makes this process an owner of entries: a row in the table of hosts, with a lease that it renews. All that it
 * owns bears the number of that row. When the lease has run out another process declares it dead, and whatever still
 * bears the number is free; this process then begins again under another number.
 *
 * @module
 */
import type { Clock, Timer } from "../../base/clock.ts";
import { errorText } from "../../base/error_text.ts";
import type { Logger } from "../../base/log.ts";
import type { Database } from "./database.ts";
import { DurabilityError, NO_STANDBY } from "./queue_options.ts";

// Milliseconds.
const CLOCK_TOLERANCE = 1_000;

/** What a {@linkcode HostLease} needs. */
export interface HostLeaseOptions {
  /** Where the hosts are. */
  readonly database: Database;
  /** What `queue hosts` calls this process. */
  readonly name: string;
  /** The version of the program. */
  readonly program: string;
  /** Milliseconds; renewed at a third. */
  readonly lease: number;
  /** Whether `synchronous_standby_names` must be set: without it there is no lease. */
  readonly needsStandby: boolean;
  /** Measures the lease. */
  readonly clock: Clock;
  /** Takes `queue.lease_lost`, `queue.joined` and `queue.clock_set`. */
  readonly logger: Logger;
  /** Called when the lease is lost, before there is another one. */
  readonly lost: () => void;
  /** Called when there is one. */
  readonly begun: () => void;
}

/** The lease of this process, renewed while there is a database. */
export class HostLease implements AsyncDisposable {
  readonly #options: HostLeaseOptions;
  #id: string | undefined;
  /** Until then (monotonic) no other host can have declared this one dead. */
  #validUntil = 0;
  #draining = false;
  /** Why the lease could not be renewed the last time. */
  #problem: string | undefined;
  /** What the database's clock shows at the zero of the monotonic one, in milliseconds since the epoch. */
  #origin: number | undefined;
  #timer: Timer | undefined;
  #renewing: Promise<void> | undefined;
  #closed = false;

  /** Starts without a lease. */
  constructor(options: HostLeaseOptions) {
    this.#options = options;
  }

  /** The number of this owner; `undefined` without a lease. */
  get id(): string | undefined {
    if (this.#id !== undefined && this.#options.clock.monotonic() >= this.#validUntil) {
      this.#lose(
        this.#problem === undefined ? "it has run out" : `it could not be renewed: ${this.#problem}`,
      );
    }
    return this.#id;
  }

  /** Whether the operator wants this host to claim nothing more. */
  get draining(): boolean {
    return this.#draining;
  }

  /** Whole milliseconds since the epoch by the database's clock, which is read with each renewal. */
  now(): number {
    const { clock } = this.#options;
    return Math.floor((this.#origin ?? clock.now() - clock.monotonic()) + clock.monotonic());
  }

  /**
   * Gets the first lease.
   * @throws {DatabaseError}
   * @throws {DurabilityError} when there is no synchronous standby, and must be one
   */
  async begin(): Promise<void> {
    await this.#join();
    this.#sleep();
  }

  /**
   * Compares the clocks, without a lease.
   * @throws {DatabaseError}
   */
  async measure(): Promise<void> {
    const { database, clock } = this.#options;
    const began = clock.monotonic();
    const [row] = await database.run((sql) =>
      sql`SELECT extract(epoch FROM clock_timestamp())::float8 * 1000 AS now`
    );
    if (row !== undefined) this.#noteClock(row.now, began);
  }

  /** Looks at once whether the lease still holds. */
  check(): Promise<void> {
    return this.#renewing ??= this.#renew().finally(() => this.#renewing = undefined);
  }

  /** Gives the lease back: others may have all that this host still owns. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#renewing;
    const id = this.#id;
    this.#id = undefined;
    if (id === undefined) return;
    await this.#options.database.run((sql) =>
      sql`UPDATE mailapp.host SET dead = true, lease_until = now() WHERE id = ${id}::bigint`
    ).catch(() => {});
  }

  #sleep(): void {
    if (this.#closed) return;
    const { clock, lease } = this.#options;
    // Without a lease sooner: nothing is sent meanwhile.
    const wait = this.#id === undefined ? Math.min(1000, lease / 3) : lease / 3;
    this.#timer = clock.after(wait, () => void this.check().finally(() => this.#sleep()));
  }

  async #renew(): Promise<void> {
    const { database, lease, clock, needsStandby } = this.#options;
    const id = this.id;
    try {
      if (id === undefined) return await this.#join();
      const began = clock.monotonic();
      const [row] = await database.run((sql) =>
        sql`
          UPDATE mailapp.host
          SET seen_at = clock_timestamp(), lease_until = clock_timestamp() + ${lease}::float8 * interval '1 ms'
          WHERE id = ${id}::bigint AND NOT dead
          RETURNING draining, extract(epoch FROM clock_timestamp())::float8 * 1000 AS now,
            current_setting('synchronous_standby_names') AS standbys`, {
        within: lease / 3,
      });
      if (row === undefined) return this.#lose("another host has taken over");
      // A standby that was promoted has its own settings.
      if (needsStandby && row.standbys === "") return this.#lose(NO_STANDBY);
      this.#validUntil = began + lease;
      this.#problem = undefined;
      this.#draining = row.draining;
      this.#noteClock(row.now, began);
    } catch (error) {
      this.#problem = errorText(error);
      // The next try may succeed; `id` tells when it is too late.
      void this.id;
    }
  }

  async #join(): Promise<void> {
    const { database, name, program, lease, clock, logger, begun, needsStandby } = this.#options;
    const began = clock.monotonic();
    const [row] = await database.run((sql) =>
      sql`
        INSERT INTO mailapp.host (name, pid, program, lease_until)
        SELECT ${name}, ${Deno.pid}, ${program}, clock_timestamp() + ${lease}::float8 * interval '1 ms'
        WHERE NOT ${needsStandby} OR current_setting('synchronous_standby_names') <> ''
        RETURNING id, extract(epoch FROM clock_timestamp())::float8 * 1000 AS now`, {
      within: Math.max(lease / 3, 5000),
    });
    if (row === undefined) throw new DurabilityError(NO_STANDBY);
    if (this.#closed) return;
    this.#noteClock(row.now, began);
    this.#id = row.id;
    this.#problem = undefined;
    this.#validUntil = began + lease;
    this.#draining = false;
    logger.info("queue.joined", { host: name, owner: Number(row.id) });
    begun();
  }

  /** Takes what the database's clock showed in answer to a statement. */
  #noteClock(now: number, began: number): void {
    const { clock, logger } = this.#options;
    const ended = clock.monotonic();
    const origin = now - (began + ended) / 2;
    const difference = this.#origin === undefined ? 0 : origin - this.#origin;
    // Half a round trip of error is nothing to ages and retry times; what is more was set.
    if (this.#origin !== undefined && Math.abs(difference) < CLOCK_TOLERANCE + (ended - began) / 2) return;
    this.#origin = origin;
    if (difference !== 0) logger.warn("queue.clock_set", { by_ms: Math.round(difference) });
  }

  #lose(reason: string): void {
    const { logger, name, lost } = this.#options;
    if (this.#id === undefined) return;
    logger.error("queue.lease_lost", { host: name, owner: Number(this.#id), reason: errorText(reason) });
    this.#id = undefined;
    lost();
  }
}
