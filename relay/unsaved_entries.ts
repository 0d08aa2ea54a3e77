/**
 * Entries whose last change could not be stored, for example on a full disk. They are kept open, so that the state of
 * their recipients is known, and are stored once that is possible. Nothing waits for them: a message that cannot be
 * stored must not hold up others, whose removal frees space.
 *
 * @module
 */
import type { Clock, Timer } from "../base/clock.ts";
import { errorText } from "../base/error_text.ts";
import type { Logger } from "../base/log.ts";
import { TimeSlice } from "../base/time_slice.ts";
import { NoticeError, type OpenEntries, type OpenEntry } from "./open_entries.ts";

/** What {@linkcode UnsavedEntries} need. */
export interface UnsavedEntriesOptions {
  /** Keeps them open. */
  readonly entries: OpenEntries;
  /** Stores one, or throws. */
  readonly store: (opened: OpenEntry) => Promise<void>;
  /** Tells when to try again. */
  readonly clock: Clock;
  /** Takes `queue.store_failed` and `dsn.failed`, once for each entry. */
  readonly logger: Logger;
}

interface Unsaved {
  readonly opened: OpenEntry;
  readonly over: PromiseWithResolvers<void>;
}

// A full disk is not emptied within a second, and each try costs it a little.
const STORE_AGAIN_AFTER = 10_000;

/** Holds what is still to be stored. */
export class UnsavedEntries {
  readonly #options: UnsavedEntriesOptions;
  readonly #entries = new Map<string, Unsaved>();
  #timer: Timer | undefined;
  #trying: Promise<void> | undefined;
  #stopped = false;

  /** Starts empty. */
  constructor(options: UnsavedEntriesOptions) {
    this.#options = options;
  }

  /** How many there are. */
  get size(): number {
    return this.#entries.size;
  }

  /** Takes an entry that is open, and that could not be stored. */
  async keep(id: string, error: unknown): Promise<void> {
    const { entries, logger } = this.#options;
    if (this.#entries.has(id)) return;
    const event = error instanceof NoticeError ? "dsn.failed" : "queue.store_failed";
    logger.error(event, { id, error: errorText(error), again_ms: STORE_AGAIN_AFTER });
    const opened = await entries.open(id);
    if (opened === undefined) return;
    if (this.#stopped || this.#entries.has(id)) return opened[Symbol.dispose]();
    this.#entries.set(id, { opened, over: Promise.withResolvers() });
    this.#sleep();
  }

  /** Resolves when an entry is stored, or is not tried any more. */
  async stored(id: string): Promise<void> {
    await this.#entries.get(id)?.over.promise;
  }

  /** Tries each once more, and no more after that. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#trying;
    await this.#tryAll();
    for (const [id, unsaved] of this.#entries) this.#forget(id, unsaved);
  }

  #sleep(): void {
    if (this.#timer !== undefined || this.#stopped || this.#entries.size === 0) return;
    this.#timer = this.#options.clock.after(STORE_AGAIN_AFTER, () => {
      this.#trying = this.#tryAll().finally(() => {
        this.#timer = undefined;
        this.#sleep();
      });
    });
  }

  async #tryAll(): Promise<void> {
    const slice = new TimeSlice();
    for (const [id, unsaved] of [...this.#entries]) {
      if (slice.isOver()) await slice.pause();
      try {
        await this.#options.store(unsaved.opened);
      } catch {
        // It was logged when it failed first.
        if (!unsaved.opened.gone) continue;
      }
      this.#forget(id, unsaved);
    }
  }

  #forget(id: string, { opened, over }: Unsaved): void {
    this.#entries.delete(id);
    opened[Symbol.dispose]();
    over.resolve();
  }
}
