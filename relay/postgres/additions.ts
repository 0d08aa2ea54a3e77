/**
 * New entries: each is stored in one transaction. Where it is unknown whether that was committed, it is found out; where
 * that cannot be done now, the message counts as refused and is withdrawn later.
 *
 * @module
 */
import type { Clock } from "../../base/clock.ts";
import { Batches } from "./batches.ts";
import type { Database } from "./database.ts";
import {
  type FirstPart,
  insertEntry,
  insertFirst,
  type Insertion,
  isThereAfterAll,
  withdraw,
} from "./entries.ts";

/** Stores new entries. */
export class Additions {
  readonly #database: Database;
  readonly #clock: Clock;
  readonly #needsStandby: boolean;
  readonly #whole: Batches<FirstPart, void>;
  /** Messages that were refused while it was unknown whether they had been stored. */
  readonly #withdrawn = new Set<string>();

  /** In this database. `needsStandby`: nothing is stored where there is no synchronous standby. */
  constructor(
    database: Database,
    { clock, needsStandby }: { readonly clock: Clock; readonly needsStandby: boolean },
  ) {
    this.#database = database;
    this.#clock = clock;
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
    const { id } = insertion.entry;
    try {
      return await insertEntry(this.#database, insertion, {
        needsStandby: this.#needsStandby,
        insertWhole: (first) => this.#whole.run(first),
      });
    } catch (error) {
      const there = await isThereAfterAll(this.#database, {
        ...{ id, error },
        clock: this.#clock,
        needsStandby: this.#needsStandby,
      });
      if (there === undefined) this.#withdrawn.add(id);
      if (!there) throw error;
      return undefined;
    }
  }

  /** Removes what was refused, now that there is a database again. */
  async withdraw(): Promise<void> {
    for (const id of [...this.#withdrawn]) {
      const done = await withdraw(this.#database, id).then(() => true, () => false);
      if (done) this.#withdrawn.delete(id);
    }
  }
}
