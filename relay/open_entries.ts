/**
 * Entries in memory, one copy each: all who work on an entry (several destinations of one message, the operator)
 * share it, and its changes are stored one after the other.
 *
 * @module
 */
import { errorText } from "../base/error_text.ts";
import { NotHeldError, type Queue } from "./queue.ts";
import type { QueueEntry } from "./queue_entry.ts";

/** A change of an entry could not be stored. The open entry has it, and it can be stored later. */
export class StoreError extends Error {
  /** `cause` is what the queue threw. */
  constructor(id: string, cause: unknown) {
    super(`${id} cannot be stored: ${errorText(cause)}`, { cause });
    this.name = "StoreError";
  }
}

/** A notice about an entry could not be written. It can be written later. */
export class NoticeError extends StoreError {
  /** `id` is the entry's, `cause` what was thrown. */
  constructor(id: string, cause: unknown) {
    super(id, cause);
    this.name = "NoticeError";
    this.message = errorText(cause);
  }
}

/** An entry in use; disposed when done. */
export interface OpenEntry extends Disposable {
  /** The one copy; changed in place. */
  readonly entry: QueueEntry;
  /** Recipients (indices) that are being sent to. */
  readonly inFlight: Set<number>;
  /** Whether it has been removed from the queue meanwhile, or belongs to another process. */
  readonly gone: boolean;
  /**
   * Stores the entry in its current state.
   * @throws {StoreError}
   */
  save(): Promise<void>;
  /**
   * Removes the entry from the queue.
   * @throws {StoreError}
   */
  remove(): Promise<void>;
  /**
   * Does another durable change that belongs to the entry.
   * @throws {StoreError}
   */
  persist(write: () => Promise<void>): Promise<void>;
  /** Runs this when no other such call on this entry is running. */
  exclusively<T>(work: () => Promise<T>): Promise<T>;
}

interface Shared {
  readonly id: string;
  users: number;
  entry: QueueEntry | undefined;
  readonly loaded: Promise<QueueEntry | undefined>;
  readonly inFlight: Set<number>;
  gone: boolean;
  turn: Promise<unknown>;
}

/** Holds the entries that are being worked on. */
export class OpenEntries {
  readonly #queue: Queue;
  readonly #closed: ((entry: QueueEntry) => void) | undefined;
  readonly #shared = new Map<string, Shared>();

  /** Opens entries of this queue. `closed` is called with each that is no longer in use, unless it is gone. */
  constructor(queue: Queue, closed?: (entry: QueueEntry) => void) {
    this.#queue = queue;
    this.#closed = closed;
  }

  /** How many are open. */
  get size(): number {
    return this.#shared.size;
  }

  /** Whether an entry is in use. */
  has(id: string): boolean {
    return this.#shared.has(id);
  }

  /** Lets all open entries count as gone. */
  forgetAll(): void {
    for (const shared of this.#shared.values()) shared.gone = true;
  }

  /** Opens an entry; `undefined` when there is none. */
  async open(id: string): Promise<OpenEntry | undefined> {
    let shared = this.#shared.get(id);
    if (shared === undefined) {
      shared = {
        id,
        users: 0,
        entry: undefined,
        loaded: this.#queue.load(id),
        inFlight: new Set(),
        gone: false,
        turn: Promise.resolve(),
      };
      this.#shared.set(id, shared);
    }
    shared.users++;
    let entry: QueueEntry | undefined;
    try {
      entry = shared.entry = await shared.loaded;
    } finally {
      if (entry === undefined) this.#close(shared);
    }
    if (entry === undefined) return undefined;
    if (!shared.gone) return this.#handle(shared, entry);
    this.#close(shared);
    return undefined;
  }

  #handle(shared: Shared, entry: QueueEntry): OpenEntry {
    const queue = this.#queue;
    let disposed = false;
    return {
      entry,
      inFlight: shared.inFlight,
      get gone() {
        return shared.gone;
      },
      save: () => persist(shared, () => queue.update(entry)),
      persist: (write) => persist(shared, write),
      remove: async () => {
        await persist(shared, () => queue.remove(shared.id));
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
        this.#close(shared);
      },
    };
  }

  #close(shared: Shared): void {
    const { id, entry } = shared;
    if (--shared.users > 0 || this.#shared.get(id) !== shared) return;
    this.#shared.delete(id);
    if (entry !== undefined && !shared.gone) this.#closed?.(entry);
  }
}

async function persist(shared: Shared, write: () => Promise<void>): Promise<void> {
  try {
    await write();
  } catch (error) {
    if (error instanceof NotHeldError) shared.gone = true;
    throw new StoreError(shared.id, error);
  }
}
