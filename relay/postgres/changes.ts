/**
 * Changes of the entries that this process owns. Each checks that it is the owner, before and in the database, and
 * updates what is remembered of the entry.
 *
 * @module
 */
import type { Clock } from "../../base/clock.ts";
import { SerialByKey } from "../../base/serial.ts";
import { NotHeldError, type Queue } from "../queue.ts";
import { isFinal, type QueueEntry } from "../queue_entry.ts";
import { coverage } from "../stored/entry.ts";
import type { FreshMessages } from "../stored/fresh_messages.ts";
import { Batches } from "./batches.ts";
import type { Claims } from "./claims.ts";
import { type Database, DatabaseError } from "./database.ts";
import type { HostLease } from "./host_lease.ts";
import type { QueueTimes } from "./queue_times.ts";
import { dueAt, recipientRows, stateText } from "./rows.ts";
import {
  deleteEntries,
  insertDots,
  type NewDots,
  type Owned,
  settleDots,
  updateEntry,
} from "./statements.ts";

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
  /** Pending recipients of entries of which nothing is left to do when these have been relayed in one transaction. */
  readonly #last = new Map<string, number>();
  /** Entries that were removed with the answer to their last dot, until whoever works on them does so, too. */
  readonly #over = new Set<string>();
  /** Entries whose removal was not answered. */
  readonly #inDoubt = new Set<string>();
  readonly #sending: Batches<NewDots, boolean>;
  readonly #ending: Batches<Owned, boolean>;

  /** Has changed nothing. */
  constructor(options: ChangesOptions) {
    this.#options = options;
    const { database } = options;
    this.#sending = new Batches({ run: (all) => whichOf(all, database.run((sql) => insertDots(sql, all))) });
    this.#ending = new Batches({
      run: (all) => whichOf(all, database.run((sql) => deleteEntries(sql, all))),
    });
  }

  /** Notes an entry that this process has added. */
  added(entry: QueueEntry): void {
    this.#relayed.set(entry.id, { of: entry.recipients.length, count: 0 });
    this.read(entry);
  }

  /** Notes an entry as it is stored. */
  read(entry: QueueEntry): void {
    this.#noteLast(entry.id, lastOf(entry));
  }

  /** Forgets an entry that this process has given back. */
  forget(id: string): void {
    this.#relayed.delete(id);
    this.#last.delete(id);
    this.#over.delete(id);
    this.#inDoubt.delete(id);
  }

  /** Forgets all. */
  lost(): void {
    this.#relayed.clear();
    this.#last.clear();
    this.#over.clear();
    this.#inDoubt.clear();
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
    const last = lastOf(entry);
    return this.#changes.run(id, async () => {
      if (this.#over.has(id) || (this.#inDoubt.has(id) && await this.#isGone(id))) return;
      const owner = this.#ownerOf(id);
      this.#options.fresh.delete(id);
      this.#last.delete(id);
      await this.#expect(id, async () => {
        const { count } = await this.#options.database.run((sql) =>
          updateEntry(sql, { id, owner, state, rows, due, covered })
        );
        return count > 0;
      });
      this.#noteLast(id, last);
      for (const { recipient } of covered) this.#dots.delete(`${id} ${recipient}`);
    });
  }

  /** See {@linkcode Queue.remove}. */
  remove(id: string): Promise<void> {
    const { database, claims, fresh } = this.#options;
    return this.#changes.run(id, async () => {
      const isOver = this.#over.has(id) || (this.#inDoubt.has(id) && await this.#isGone(id));
      if (!isOver && !claims.has(id)) {
        if (!await this.#isThere(id)) return;
      }
      if (!isOver) {
        const owner = this.#ownerOf(id);
        const { of, count } = this.#relayed.get(id) ?? { of: 1, count: 0 };
        await this.#expect(id, async () => {
          if (count < of) return await this.#end({ id, owner });
          // If this were lost, what is durable of its dots would lead to it again.
          return await this.#end(
            { id, owner },
            async (entry) =>
              (await database.run((sql) => deleteEntries(sql, [entry]), { lazy: true })).length > 0,
          );
        });
      }
      claims.forget(id);
      fresh.delete(id);
      this.forget(id);
    });
  }

  /** See {@linkcode Queue.dotSent}. */
  dotSent(id: string, { recipients, host, address, at }: DotSent): Promise<void> {
    const { clock, resendAfter, lease } = this.#options;
    return this.#changes.run(id, async () => {
      const owner = this.#ownerOf(id);
      const began = clock.monotonic();
      const wait = resendAfter();
      await this.#expect(id, () => this.#sending.run({ id, owner, recipients, host, address, at, wait }));
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
      // Then there is nothing left to be known of it.
      const isLast = relayed && recipients.length === this.#last.get(id);
      if (isLast && await this.#end({ id, owner })) this.#over.add(id);
      else {
        await this.#expect(id, async () => {
          const { count } = await this.#options.database.run((sql) =>
            settleDots(sql, { id, owner, recipients, relayed })
          );
          return count > 0;
        });
      }
      for (const number of recipients) this.#dots.delete(`${id} ${number}`);
      const known = this.#relayed.get(id);
      if (relayed && known !== undefined) known.count += recipients.length;
    });
  }

  /** Removes an entry of this process; notes it where that is not answered. */
  async #end(
    entry: Owned,
    remove: (entry: Owned) => Promise<boolean> = (entry) => this.#ending.run(entry),
  ): Promise<boolean> {
    try {
      return await remove(entry);
    } catch (error) {
      if (!(error instanceof DatabaseError && error.isCertain)) this.#inDoubt.add(entry.id);
      throw error;
    }
  }

  /** Whether an entry in doubt has been removed. */
  async #isGone(id: string): Promise<boolean> {
    const isThere = await this.#isThere(id);
    this.#inDoubt.delete(id);
    if (!isThere) this.#over.add(id);
    return !isThere;
  }

  async #isThere(id: string): Promise<boolean> {
    const found = await this.#options.database.run((sql) => sql`SELECT FROM mailapp.entry WHERE id = ${id}`);
    return found.length > 0;
  }

  #noteLast(id: string, last: number | undefined): void {
    if (last === undefined) this.#last.delete(id);
    else this.#last.set(id, last);
  }

  /** @throws {NotHeldError} */
  #ownerOf(id: string): string {
    const owner = this.#options.owner.id;
    if (owner === undefined || !this.#options.claims.has(id)) throw new NotHeldError(id);
    return owner;
  }

  /**
   * Changes an entry of this process; `change` returns whether it did.
   * @throws {NotHeldError} when it did not
   */
  async #expect(id: string, change: () => Promise<boolean>): Promise<void> {
    if (await change()) return;
    this.#options.claims.forget(id);
    this.#options.fresh.delete(id);
    this.forget(id);
    // Perhaps all that this process owns is another's.
    await this.#options.owner.check();
    throw new NotHeldError(id);
  }
}

/** Which of the entries a statement has changed. */
async function whichOf(
  entries: readonly { readonly id: string }[],
  changed: Promise<readonly { readonly id: string }[]>,
): Promise<boolean[]> {
  const ids = new Set((await changed).map(({ id }) => id));
  return entries.map(({ id }) => ids.has(id));
}

/** How many recipients are pending; `undefined` where something is left to do when all of them have been relayed. */
function lastOf({ recipients }: QueueEntry): number | undefined {
  let pending = 0;
  for (const recipient of recipients) {
    const { status, settled, notice, notify } = recipient;
    if (notice !== undefined) return undefined;
    if (status === "pending") {
      if (notify?.includes("SUCCESS")) return undefined;
      pending++;
    } else if (!isFinal(recipient) || !settled) return undefined;
  }
  return pending;
}
