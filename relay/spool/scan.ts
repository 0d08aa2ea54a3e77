/**
 * The walk through the whole spool at a start: what is waiting, from the index where that can be trusted, else from
 * the files. On the way it clears away what a crash has left over.
 *
 * @module
 */
import { join } from "node:path";
import type { Logger } from "../../base/log.ts";
import type { FileSystem } from "../../storage/file_system.ts";
import type { Journal } from "./journal.ts";
import type { Queue, QueueSummary } from "../queue.ts";
import type { QueueEntry } from "../queue_entry.ts";
import { isFile, lstat, messagePath, putAside, removeIfThere, shardOf, statePath } from "./directory.ts";
import { isDone, summarize } from "../stored/entry.ts";
import {
  digestOf,
  type IndexLine,
  isAbout,
  markOf,
  sameMark,
  type SpoolIndex,
  summarizeLine,
} from "./index.ts";
import type { SpoolListing } from "./listing.ts";
import type { SpoolReader } from "./reader.ts";
import { TimeSlice } from "../../base/time_slice.ts";

/** What a {@linkcode SpoolScan} needs. */
export interface SpoolScanOptions {
  /** The spool's directory. */
  readonly directory: string;
  /** Where failures are logged. */
  readonly logger: Logger;
  /** The file system. */
  readonly fileSystem: FileSystem;
  /** What is known of entries beyond their files. */
  readonly journal: Journal;
  /** What is known of entries without reading them. */
  readonly index: SpoolIndex;
  /** Lists the files. */
  readonly listing: SpoolListing;
  /** Reads them. */
  readonly reader: SpoolReader;
  /** Removes what is done, loads at the end what could not be read, tells ages. */
  readonly queue: Pick<Queue, "load" | "remove" | "ageOf">;
}

// Lines of a shard's index that are of no use any more, beyond which it is rewritten.
const MAX_USELESS_LINES = 1000;
/** Failures that the error names. */
const MAX_SHOWN = 10;

/** One scan. The spool may change while it runs, or is still to read the rest, and tells it so. */
export class SpoolScan {
  readonly #options: SpoolScanOptions;
  /** Came after the scan began. */
  readonly #added = new Set<string>();
  /** Their state was written during the scan, which may have listed the states before. */
  readonly #updated = new Set<string>();
  /** One string for each domain. */
  readonly #domains = new Map<string, string>();
  /** To be tried again at the end. */
  readonly #unreadable = new Set<string>();
  /** Those of them that the log has named. */
  readonly #named = new Set<string>();
  /** The folders that could not be read; `undefined` before the first run is over. */
  #unreadShards: readonly string[] | undefined;
  readonly #slice = new TimeSlice();
  #doubtful = false;

  constructor(options: SpoolScanOptions) {
    this.#options = options;
  }

  /** Whether a line of the index may still be about what a message was before it was edited by hand. */
  get doubtful(): boolean {
    return this.#doubtful;
  }

  /** Whether something is left for another run. */
  get isPartial(): boolean {
    return (this.#unreadShards?.length ?? 0) + this.#unreadable.size > 0;
  }

  /** Tells the scan of a message that is not to be among what it yields. */
  noteAdded(id: string): void {
    if (this.#unreadShards?.includes(shardOf(id)) ?? true) this.#added.add(id);
  }

  /** Tells the scan of an entry whose state is being written. */
  noteUpdated(id: string): void {
    this.#updated.add(id);
  }

  /**
   * Runs it; see {@linkcode Queue.scan}. Run again, it reads what could not be read before.
   * @throws {AggregateError} at the end, where something could not be read
   */
  async *run(): AsyncGenerator<QueueSummary, void, void> {
    const failures: Error[] = [];
    const unread: string[] = [];
    for (const shard of this.#unreadShards ?? [...this.#options.listing.shards()]) {
      const yielded: string[] = [];
      try {
        for await (const summary of this.#scanShard(shard)) {
          yielded.push(summary.id);
          yield summary;
        }
      } catch (error) {
        failures.push(new Error(`${shard}: ${error}`, { cause: error }));
        unread.push(shard);
        for (const id of yielded) this.#added.add(id);
      }
    }
    this.#unreadShards = unread;
    for (const id of this.#added) if (!unread.includes(shardOf(id))) this.#added.delete(id);
    yield* this.#tryAgain(failures);
    if (failures.length > 0) {
      const shown = failures.slice(0, MAX_SHOWN).map(({ message }) => message).join("; ");
      throw new AggregateError(failures, `folders or messages that could not be read: ${shown}`);
    }
  }

  async *#scanShard(shard: string): AsyncGenerator<QueueSummary, void, void> {
    const { index, listing, queue } = this.#options;
    const states = listing.states(shard);
    const { lines, count } = index.read(shard);
    if (this.#slice.isOver({ surely: true })) await this.#slice.pause();
    const used = new Map<string, IndexLine>();
    for (const id of listing.messages(shard)) {
      const hasState = states.delete(id);
      if (this.#added.has(id)) continue;
      if (this.#slice.isOver()) await this.#slice.pause();
      const updated = this.#updated.has(id);
      const line = updated ? undefined : this.#lookUp(id, { line: lines.get(id), hasState });
      if (line !== undefined) {
        used.set(id, line);
        const summary = summarizeLine(id, line, { age: queue.ageOf({ id, ...line }), known: this.#domains });
        if (summary !== undefined) yield summary;
        else if (line.done) await this.#clear(id, () => queue.remove(id));
        continue;
      }
      const { entry, noted } = this.#read(id, hasState || updated);
      if (!noted && !updated && lines.has(id)) this.#doubtful = true;
      const summary = entry && this.#summarize(entry);
      if (summary !== undefined) yield summary;
      else if (entry !== undefined && isDone(entry)) await this.#clear(id, () => queue.remove(id));
    }
    if (count > used.size + MAX_USELESS_LINES) await index.rewrite(shard, used);
    for (const id of states) await this.#clear(id, () => this.#clearOrphan(id));
  }

  /** What could not be read at its turn. */
  async *#tryAgain(failures: Error[]): AsyncGenerator<QueueSummary, void, void> {
    for (const id of [...this.#unreadable]) {
      this.#unreadable.delete(id);
      const entry = await this.#options.queue.load(id).catch((error) => {
        this.#unreadable.add(id);
        failures.push(new Error(`${id}: ${error}`, { cause: error }));
        if (!this.#named.has(id)) {
          this.#options.logger.error("queue.unreadable", { id, error: String(error) });
        }
        this.#named.add(id);
        return undefined;
      });
      const summary = entry && this.#summarize(entry);
      if (summary !== undefined) yield summary;
    }
  }

  #summarize(entry: QueueEntry): QueueSummary | undefined {
    return summarize(entry, { age: this.#options.queue.ageOf(entry), domains: this.#domains });
  }

  /** The index's line of an entry, if it is about the files that are there. */
  #lookUp(
    id: string,
    { line, hasState }: { line: IndexLine | undefined; hasState: boolean },
  ): IndexLine | undefined {
    const { directory, journal } = this.#options;
    // What the journal knows is not in the line.
    if (line === undefined || journal.get(id) !== undefined) return undefined;
    if (!isAbout(line, lstat(messagePath(directory, id)))) return undefined;
    const state = hasState ? lstat(statePath(directory, id)) : undefined;
    return sameMark(state && markOf(state), line.marks.state) ? line : undefined;
  }

  /** Reads an entry, and notes it in the index where that can be done. */
  #read(id: string, hasState: boolean): { entry: QueueEntry | undefined; noted: boolean } {
    const { directory, journal, index, reader } = this.#options;
    try {
      // Before it is read: what changes meanwhile makes the line of the index void, not wrong.
      const message = lstat(messagePath(directory, id));
      const state = hasState ? lstat(statePath(directory, id)) : undefined;
      const entry = reader.read(id, hasState);
      const digest = entry && digestOf(entry);
      const noted = digest !== undefined && message !== undefined && journal.get(id) === undefined;
      if (noted) {
        index.note(id, {
          digest,
          marks: { message: markOf(message), ...(state && { state: markOf(state) }) },
        });
      }
      this.#unreadable.delete(id);
      // One that is damaged is gone.
      return { entry, noted: noted || entry === undefined };
    } catch {
      // Out of descriptors, perhaps; it is tried again, and logged, at the end.
      this.#unreadable.add(id);
      return { entry: undefined, noted: false };
    }
  }

  /** Clears away what is over; where that fails, the next start does. */
  async #clear(id: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#options.logger.warn("queue.not_removed", { id, error: String(error) });
    }
  }

  /** Clears away a state that seems to have no message. */
  async #clearOrphan(id: string): Promise<void> {
    const { directory, logger, fileSystem } = this.#options;
    const state = statePath(directory, id);
    // A crash between the two renames of a damaged entry leaves its state behind.
    if (isFile(join(directory, "damaged", id))) {
      putAside(state, { directory, reason: "its message is damaged", logger });
    } else if (!isFile(messagePath(directory, id))) {
      await removeIfThere(fileSystem, state);
    }
  }
}
