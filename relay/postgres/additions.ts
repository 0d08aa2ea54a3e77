/**
 * New entries: each is stored in one transaction. Where it is unknown whether that was committed, it is found out; where
 * that cannot be done now, the message counts as refused and is withdrawn later.
 *
 * @module
 */
import type { Clock, Timer } from "../../base/clock.ts";
import { Batches, MOST_LOCKED } from "./batches.ts";
import { type Database, DatabaseError } from "./database.ts";
import {
  type FirstPart,
  insertEntry,
  insertFirst,
  type Insertion,
  isThereAfterAll,
  withdraw,
} from "./entries.ts";

/** What {@linkcode Additions} need beside a database. */
export interface AdditionsOptions {
  readonly clock: Clock;
  /** Whether nothing is stored where there is no synchronous standby. */
  readonly needsStandby: boolean;
  /** Called when a message that was refused is certainly not in the queue. */
  readonly withdrawn: (id: string) => void;
}

// Milliseconds.
const WITHDRAW_AGAIN = 5_000;

/** Stores new entries. */
export class Additions implements AsyncDisposable {
  readonly #database: Database;
  readonly #clock: Clock;
  readonly #needsStandby: boolean;
  readonly #toldWithdrawn: (id: string) => void;
  readonly #whole: Batches<FirstPart, void>;
  /** Messages that were refused while it was unknown whether they had been stored. */
  readonly #inDoubt = new Set<string>();
  #timer: Timer | undefined;
  #withdrawing: Promise<void> | undefined;
  #closed = false;

  /** In this database. */
  constructor(database: Database, { clock, needsStandby, withdrawn }: AdditionsOptions) {
    this.#database = database;
    this.#clock = clock;
    this.#toldWithdrawn = withdrawn;
    this.#needsStandby = needsStandby;
    this.#whole = new Batches<FirstPart, void>({
      run: async (insertions) => {
        await database.run((sql) => insertFirst(sql, insertions, { needsStandby }));
        return [];
      },
      octets: ({ bytes }) => bytes.length,
    });
  }

  /**
   * Stores an entry with all that belongs to it.
   * @returns its message, where that was stored in one part
   * @throws {DatabaseError} when it is not in the queue
   */
  async store(insertion: Insertion): Promise<Uint8Array | undefined> {
    const { entry: { id }, body: { isRetried } } = insertion;
    try {
      return await insertEntry(this.#database, insertion, {
        needsStandby: this.#needsStandby,
        insertWhole: (first) => this.#whole.run(first),
      });
    } catch (error) {
      const there = await isThereAfterAll(this.#database, {
        ...{ id, isRetried, error },
        clock: this.#clock,
        needsStandby: this.#needsStandby,
      });
      if (there === undefined && !isRetried) {
        this.#inDoubt.add(id);
        this.#sleep();
      }
      if (!there) throw error;
      return undefined;
    }
  }

  /** Whether a message was refused, and may be in the queue all the same. */
  isInDoubt(id: string): boolean {
    return this.#inDoubt.has(id);
  }

  /** Removes what was refused, as far as there is a database again; what is left is removed later. */
  withdraw(): Promise<void> {
    return this.#withdrawing ??= this.#withdraw().finally(() => {
      this.#withdrawing = undefined;
      this.#sleep();
    });
  }

  /** Removes what was refused, once more. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#inDoubt.size > 0) await this.withdraw();
    this.#closed = true;
    this.#timer?.cancel();
  }

  async #withdraw(): Promise<void> {
    let locked = 0;
    for (const id of [...this.#inDoubt]) {
      try {
        await withdraw(this.#database, id);
      } catch (error) {
        if (error instanceof DatabaseError && error.isLocked && ++locked < MOST_LOCKED) continue;
        // The next one would fail, too.
        return;
      }
      this.#inDoubt.delete(id);
      this.#toldWithdrawn(id);
    }
  }

  #sleep(): void {
    this.#timer?.cancel();
    if (this.#closed || this.#inDoubt.size === 0) return;
    this.#timer = this.#clock.after(WITHDRAW_AGAIN, () => void this.withdraw());
  }
}
