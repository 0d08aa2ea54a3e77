/**
 * Changes of the entries that this process owns. Each checks that it is the owner, before and in the database, and
 * updates what is remembered of the entry.
 *
 * @module
 */
import type { Clock } from "../../base/clock.ts";
import { SerialByKey } from "../../base/serial.ts";
import { NotHeldError, type Queue } from "../queue.ts";
import type { QueueEntry } from "../queue_entry.ts";
import { coverage } from "../stored/entry.ts";
import type { FreshMessages } from "../stored/fresh_messages.ts";
import type { Claims } from "./claims.ts";
import type { Database, Sql } from "./database.ts";
import type { HostLease } from "./host_lease.ts";
import type { QueueTimes } from "./queue_times.ts";
import { dueAt, recipientRows, stateText } from "./rows.ts";
import { deleteEntry, insertDots, settleDots, updateEntry } from "./statements.ts";

/** What {@linkcode Changes} need. */
export interface ChangesOptions {
  readonly database: Database;
  readonly clock: Clock;
  readonly claims: Claims;
  /** What makes this process an owner. */
  readonly owner: HostLease;
  /** Its length in milliseconds. */
  readonly lease: number;
  readonly fresh: FreshMessages;
  readonly times: QueueTimes;
  /** Milliseconds from a dot until another process may send the message again. */
  readonly resendAfter: () => number;
}

type DotSent = Parameters<Queue["dotSent"]>[1];
type DotAnswered = Parameters<Queue["dotAnswered"]>[1];

/** Changes entries, one change of each after the other. */
export class Changes {
  readonly #options: ChangesOptions;
  readonly #changes = new SerialByKey();
  /** Final dots of this process without an answer yet, by entry and recipient, with the owner that sent them. */
  readonly #dots = new Map<string, string>();
  /** How many recipients of an entry are durably relayed, and how many there are. */
  readonly #relayed = new Map<string, { readonly of: number; count: number }>();

  /** Has changed nothing. */
  constructor(options: ChangesOptions) {
    this.#options = options;
  }

  /** Notes an entry with so many recipients that this process has added. */
  added(id: string, recipients: number): void {
    this.#relayed.set(id, { of: recipients, count: 0 });
  }

  /** Forgets an entry that this process has given back. */
  forget(id: string): void {
    this.#relayed.delete(id);
  }

  /** Forgets all. */
  lost(): void {
    this.#relayed.clear();
  }

  /** Resolves when no change is under way. */
  idle(): Promise<void> {
    return this.#changes.idle();
  }

  /** See {@linkcode Queue.update}. */
  update(entry: QueueEntry): Promise<void> {
    const { id } = entry;
    const { times } = this.#options;
    const [corrected, shift] = [times.corrected(entry), { offset: times.offset }];
    const state = stateText(corrected, shift);
    const rows = JSON.stringify(recipientRows(corrected, shift));
    const due = dueAt(corrected, shift);
    const covered = entry.recipients.flatMap((recipient, index) => {
      const { final, dots } = coverage(recipient);
      const sent: readonly (number | null)[] = final ? [null] : dots;
      return sent.map((at) => ({ recipient: index, at }));
    });
    return this.#changes.run(id, async () => {
      const owner = this.#ownerOf(id);
      this.#options.fresh.delete(id);
      await this.#expectOne(id, (sql) => updateEntry(sql, { id, owner, state, rows, due, covered }));
      for (const { recipient } of covered) this.#dots.delete(`${id} ${recipient}`);
    });
  }

  /** See {@linkcode Queue.remove}. */
  remove(id: string): Promise<void> {
    return this.#changes.run(id, async () => {
      if (!this.#options.claims.has(id)) {
        const found = await this.#options.database.run((sql) =>
          sql`SELECT FROM mailapp.entry WHERE id = ${id}`
        );
        if (found.length === 0) return;
      }
      const owner = this.#ownerOf(id);
      const { of, count } = this.#relayed.get(id) ?? { of: 1, count: 0 };
      // If this were lost, what is durable of its dots would lead to it again.
      await this.#expectOne(id, (sql) => deleteEntry(sql, { id, owner }), { lazy: count >= of });
      this.#options.claims.forget(id);
      this.#options.fresh.delete(id);
      this.#relayed.delete(id);
    });
  }

  /** See {@linkcode Queue.dotSent}. */
  dotSent(id: string, { recipients, host, address, at }: DotSent): Promise<void> {
    const { clock, resendAfter, lease } = this.#options;
    return this.#changes.run(id, async () => {
      const owner = this.#ownerOf(id);
      const began = clock.monotonic();
      const wait = resendAfter();
      await this.#expectOne(id, (sql) => insertDots(sql, { id, owner, recipients, host, address, at, wait }));
      for (const number of recipients) this.#dots.set(`${id} ${number}`, owner);
      // Whoever slept meanwhile must not send a dot that others take for one of long ago.
      if (clock.monotonic() - began >= lease) throw new NotHeldError(id);
    });
  }

  /** See {@linkcode Queue.dotAnswered}. */
  dotAnswered(id: string, { recipients, relayed }: DotAnswered): Promise<void> {
    return this.#changes.run(id, async () => {
      // The owner that sent it, even if the lease is gone: until another has the entry the answer is worth having.
      const owner = this.#dots.get(`${id} ${recipients[0]}`) ?? this.#ownerOf(id);
      await this.#expectOne(id, (sql) => settleDots(sql, { id, owner, recipients, relayed }));
      for (const number of recipients) this.#dots.delete(`${id} ${number}`);
      const known = this.#relayed.get(id);
      if (relayed && known !== undefined) known.count += recipients.length;
    });
  }

  /** @throws {NotHeldError} */
  #ownerOf(id: string): string {
    const owner = this.#options.owner.id;
    if (owner === undefined || !this.#options.claims.has(id)) throw new NotHeldError(id);
    return owner;
  }

  /**
   * Runs a statement that changes an entry of this process.
   * @throws {NotHeldError} when it has changed nothing
   */
  async #expectOne(
    id: string,
    work: (sql: Sql) => Promise<{ readonly count: number }>,
    options: { readonly lazy?: boolean } = {},
  ): Promise<void> {
    const { count } = await this.#options.database.run(work, options);
    if (count > 0) return;
    this.#options.claims.forget(id);
    this.#options.fresh.delete(id);
    // Perhaps all that this process owns is another's.
    await this.#options.owner.check();
    throw new NotHeldError(id);
  }
}
