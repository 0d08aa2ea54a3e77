/**
 * Entries in memory, one copy each: whoever works on an entry (several destinations of one message, the operator)
 * works on the same one, and what is stored of it is stored in turn.
 *
 * @module
 */
import type { Logger } from "../base/log.ts";
import type { Clock } from "../base/clock.ts";
import type { Queue } from "./queue.ts";
import type { QueueEntry } from "./queue_entry.ts";

/** What {@linkcode OpenEntries} needs. */
export interface OpenEntriesOptions {
  /** Where entries come from and go to. */
  readonly queue: Queue;
  /** Times the next try after a failed write. */
  readonly clock: Clock;
  /** Takes `queue.store_failed`. */
  readonly logger: Logger;
  /** Ends the tries to write. */
  readonly signal: AbortSignal;
}

// A full disk is not emptied within a second, and each try costs it a little.
const WRITE_AGAIN_AFTER = 10_000;

/** An entry that somebody works on; disposed when done. */
export interface OpenEntry extends Disposable {
  /** The one copy; changed in place. */
  readonly entry: QueueEntry;
  /** Recipients (indices) that are being sent to just now. */
  readonly inFlight: Set<number>;
  /** Whether it has been removed from the queue meanwhile. */
  readonly gone: boolean;
  /**
   * Stores the entry as it stands. Tries again while that fails: until what became of a message is written down,
   * nothing more is done with it, and the recipients stay in flight.
   * @throws the signal's reason, once that is aborted and the entry could not be stored
   */
  save(): Promise<void>;
  /** Removes the entry from the queue; tries again as {@linkcode OpenEntry.save} does. */
  remove(): Promise<void>;
  /** Does another durable change, with the same patience. */
  persist(write: () => Promise<void>): Promise<void>;
  /** Runs this when nobody else is in such a call on this entry. */
  exclusively<T>(work: () => Promise<T>): Promise<T>;
}

interface Shared {
  users: number;
  readonly loaded: Promise<QueueEntry | undefined>;
  readonly inFlight: Set<number>;
  gone: boolean;
  turn: Promise<unknown>;
}

/** Holds the entries that are being worked on. */
export class OpenEntries {
  readonly #options: OpenEntriesOptions;
  readonly #shared = new Map<string, Shared>();

  /** Makes an empty one. */
  constructor(options: OpenEntriesOptions) {
    this.#options = options;
  }

  /** How many are open. */
  get size(): number {
    return this.#shared.size;
  }

  /** Opens an entry; `undefined` when there is none. */
  async open(id: string): Promise<OpenEntry | undefined> {
    let shared = this.#shared.get(id);
    if (shared === undefined) {
      shared = {
        users: 0,
        loaded: this.#options.queue.load(id),
        inFlight: new Set(),
        gone: false,
        turn: Promise.resolve(),
      };
      this.#shared.set(id, shared);
    }
    shared.users++;
    let entry: QueueEntry | undefined;
    try {
      entry = await shared.loaded;
    } finally {
      if (entry === undefined) this.#close(id, shared);
    }
    if (entry === undefined) return undefined;
    if (!shared.gone) return this.#handle(id, shared, entry);
    this.#close(id, shared);
    return undefined;
  }

  #handle(id: string, shared: Shared, entry: QueueEntry): OpenEntry {
    const { queue } = this.#options;
    let disposed = false;
    return {
      entry,
      inFlight: shared.inFlight,
      get gone() {
        return shared.gone;
      },
      save: () => this.#persist(id, () => queue.update(entry)),
      persist: (write) => this.#persist(id, write),
      remove: async () => {
        await this.#persist(id, () => queue.remove(id));
        shared.gone = true;
      },
      exclusively: (work) => {
        const turn = shared.turn.then(work);
        shared.turn = turn.catch(() => {});
        return turn;
      },
      [Symbol.dispose]: () => {
        if (disposed) return;
        disposed = true;
        this.#close(id, shared);
      },
    };
  }

  #close(id: string, shared: Shared): void {
    if (--shared.users === 0 && this.#shared.get(id) === shared) this.#shared.delete(id);
  }

  async #persist(id: string, write: () => Promise<void>): Promise<void> {
    const { clock, logger, signal } = this.#options;
    for (;;) {
      try {
        return await write();
      } catch (error) {
        logger.error("queue.store_failed", { id, error: String(error), again_ms: WRITE_AGAIN_AFTER });
      }
      signal.throwIfAborted();
      await new Promise<void>((resolve, reject) => {
        const abort = () => {
          timer.cancel();
          reject(signal.reason);
        };
        const timer = clock.after(WRITE_AGAIN_AFTER, () => {
          signal.removeEventListener("abort", abort);
          resolve();
        });
        signal.addEventListener("abort", abort, { once: true });
      });
    }
  }
}
