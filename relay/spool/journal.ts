/**
 * The spool's journal: one append-only file for what must be on disk at once, before a message changes hands. All
 * who write while the disk is busy share the next sync.
 *
 * @module
 */
import { syncTime } from "../../storage/file_system.ts";
import { dirname } from "node:path";
import type { Logger } from "../../base/log.ts";
import type { DirectorySyncer } from "../../storage/directory_syncer.ts";
import type { FileSystem, OpenFile } from "../../storage/file_system.ts";
import { writeAllSync } from "../../base/write_all.ts";
import { isFull, storageCall, storageCallSync } from "../../storage/storage_error.ts";
import { withRoom } from "./reserve.ts";
import { decodeRecord, encodeRecord, type JournalRecord } from "../stored/format.ts";
import type { DotSent, JournalEntry } from "../stored/entry.ts";
import { SpoolFormatError } from "../stored/format_values.ts";

const syncs = syncTime.with("journal");

/** Where a journal lives and what it needs. */
export interface JournalOptions {
  /** The journal file. */
  readonly path: string;
  /** Where a new journal is written before it replaces the old one; on the same file system. */
  readonly temporary: string;
  /** The file system. */
  readonly fileSystem: FileSystem;
  /** Makes the new journal's name durable. */
  readonly syncer: DirectorySyncer;
  /** Where it tells what it found. */
  readonly logger: Logger;
  /** Whether an entry is still there; records of others are dropped. */
  readonly exists: (id: string) => boolean;
  /** Makes sure that entries that are gone stay so, whatever happens to the machine. */
  readonly makeDurable: (ids: readonly string[]) => Promise<void>;
  /** Makes room on a full disk; whether there is any now. */
  readonly makeRoom: () => Promise<boolean>;
  /** Puts a copy of a damaged journal aside. */
  readonly keepDamaged: (reason: string) => void;
  /** Octets at which the journal is rewritten with the live records only; default 1 MiB. */
  readonly rotateAt?: number;
}

const encoder = new TextEncoder();

/** An open journal. Only one process may have it open. */
export class Journal {
  readonly #options: JournalOptions;
  readonly #live = new Map<string, JournalEntry>();
  #file: OpenFile | undefined;
  #size = 0;
  /** The size up to which the journal may grow; above what is live, else it would be rewritten at each turn. */
  #limit = 0;
  #waiting: { record: JournalRecord; resolve: () => void; reject: (reason: unknown) => void }[] = [];
  #running: Promise<void> | undefined;

  private constructor(options: JournalOptions) {
    this.#options = options;
  }

  /**
   * Reads what an earlier process left, and begins a fresh file with what is live of it; where there is no room for one,
   * the old one goes on.
   */
  static async open(options: JournalOptions): Promise<Journal> {
    const journal = new Journal(options);
    const { lines, length } = journal.#replay();
    await journal.#dropGone();
    options.logger.debug("queue.journal_read", { lines, live: journal.#live.size });
    try {
      await withRoom(() => journal.#rotate(), options.makeRoom);
    } catch (error) {
      if (!isFull(error)) throw error;
      await journal.#resume(length);
    }
    return journal;
  }

  /** What is known of an entry beyond its files. */
  get(id: string): JournalEntry | undefined {
    return this.#live.get(id);
  }

  /** How many entries have live records. */
  get liveCount(): number {
    return this.#live.size;
  }

  /** Resolves when the record is durable. */
  append(record: JournalRecord): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#waiting.push({ record, resolve, reject });
    this.#running ??= this.#run();
    return promise;
  }

  /** Drops what is known of an entry whose files are gone for good. */
  forget(id: string): void {
    this.#live.delete(id);
  }

  /** Drops what is now known by an entry's state file. */
  forgetRecipient(id: string, index: number, what: "sent" | "relayed"): void {
    const entry = this.#live.get(id);
    if (entry === undefined) return;
    entry[what].delete(index);
    if (entry.sent.size === 0 && entry.relayed.size === 0 && !entry.removed) this.#live.delete(id);
  }

  /** The live records of an entry, as lines; for whoever repairs a damaged one. */
  describe(id: string): string {
    const entry = this.#live.get(id);
    return entry === undefined ? "" : recordsOf(id, entry).map(encodeRecord).join("");
  }

  /** Ends it when all that was appended is written. */
  async close(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
    this.#file?.close();
    this.#file = undefined;
  }

  async #run(): Promise<void> {
    // Callers of the same turn share a sync already.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      const data = encoder.encode(batch.map(({ record }) => encodeRecord(record)).join(""));
      try {
        await withRoom(async () => {
          if (this.#file === undefined || this.#size > this.#limit) await this.#renew();
          await this.#append(data);
        }, this.#options.makeRoom);
      } catch (error) {
        for (const { reject } of batch) reject(error);
        continue;
      }
      for (const { record, resolve } of batch) {
        this.#apply(record, false);
        resolve();
      }
    }
    this.#running = undefined;
  }

  async #append(data: Uint8Array): Promise<void> {
    const { path } = this.#options;
    const file = this.#file;
    if (file === undefined) return;
    try {
      storageCallSync("write", path, () => writeAllSync(file, data));
    } catch (error) {
      // What was written of it is cut off again.
      try {
        file.truncateSync(this.#size);
        await file.seek(this.#size, Deno.SeekMode.Start);
      } catch {
        this.#drop();
      }
      throw error;
    }
    try {
      const since = performance.now();
      await storageCall("sync", path, () => file.sync());
      syncs.observe((performance.now() - since) / 1000);
    } catch (error) {
      // What of it is on disk cannot be known, and a second sync may say yes to what the first one lost (fsync reports
      // an error once): the next one begins a new file.
      this.#drop();
      throw error;
    }
    this.#size += data.length;
  }

  #drop(): void {
    this.#file?.close();
    this.#file = undefined;
  }

  /** Begins a new file; where that cannot be done, the old one will do once more, if it is sound. */
  async #renew(): Promise<void> {
    try {
      await this.#rotate();
    } catch (error) {
      if (this.#file === undefined) throw error;
      this.#limit = 2 * this.#size;
    }
  }

  /** Goes on with the file that is there, after its last whole line. */
  async #resume(length: number): Promise<void> {
    const { path, fileSystem, logger } = this.#options;
    let file: OpenFile;
    try {
      file = fileSystem.openSync(path, { write: true });
    } catch (error) {
      // Before the first journal there is none. Whoever writes a record needs room for one.
      if (error instanceof Deno.errors.NotFound) return;
      throw error;
    }
    file.truncateSync(length);
    await file.seek(length, Deno.SeekMode.Start);
    this.#file = file;
    this.#size = length;
    this.#limit = 2 * length;
    logger.warn("queue.journal_kept", { octets: length });
  }

  #apply(record: JournalRecord, inherited: boolean): void {
    let entry = this.#live.get(record.id);
    if (entry === undefined) {
      entry = { sent: new Map(), relayed: new Map(), removed: false };
      this.#live.set(record.id, entry);
    }
    if (record.type === "removed") {
      entry.removed = true;
      return;
    }
    for (const index of record.recipients) {
      if (record.type === "dotSent") {
        const { host, address, at } = record;
        entry.sent.set(index, { host, address, at, inherited });
      } else {
        if (record.relayed) entry.relayed.set(index, entry.sent.get(index));
        entry.sent.delete(index);
      }
    }
    if (entry.sent.size === 0 && entry.relayed.size === 0 && !entry.removed) this.#live.delete(record.id);
  }

  /** Returns how many lines there were, and how many octets. */
  #replay(): { lines: number; length: number } {
    const { path, keepDamaged } = this.#options;
    let bytes: Uint8Array;
    try {
      bytes = Deno.readFileSync(path);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return { lines: 0, length: 0 };
      throw error;
    }
    const lines = new TextDecoder().decode(bytes).split("\n");
    // What is after the last LF was being written when the power failed: it was never reported as durable.
    lines.pop();
    let damaged = "";
    lines.forEach((line, index) => {
      try {
        this.#apply(decodeRecord(line), true);
      } catch (error) {
        if (!(error instanceof SpoolFormatError)) throw error;
        damaged ||= `line ${index + 1}: ${error.message}`;
      }
    });
    if (damaged !== "") keepDamaged(damaged);
    return { lines: lines.length, length: bytes.lastIndexOf(10) + 1 };
  }

  /** The process before may have died after a removal, and before that was durable; without its record it must be. */
  async #dropGone(): Promise<void> {
    const { exists, makeDurable } = this.#options;
    const gone = [...this.#live.keys()].filter((id) => !exists(id));
    await makeDurable(gone);
    for (const id of gone) this.#live.delete(id);
  }

  async #rotate(): Promise<void> {
    const { path, temporary, fileSystem, syncer, rotateAt = 1024 * 1024 } = this.#options;
    const text = [...this.#live].flatMap(([id, entry]) => recordsOf(id, entry)).map(encodeRecord).join("");
    const data = encoder.encode(text);
    const how = { create: true, truncate: true, write: true, mode: 0o600 };
    const file = storageCallSync("create", temporary, () => fileSystem.openSync(temporary, how));
    try {
      storageCallSync("write", temporary, () => writeAllSync(file, data));
      await storageCall("sync", temporary, () => file.sync());
      storageCallSync("rename", path, () => fileSystem.renameSync(temporary, path));
    } catch (error) {
      file.close();
      await fileSystem.remove(temporary).catch(() => {});
      throw error;
    }
    // It has no name any more.
    this.#drop();
    try {
      await syncer.sync(dirname(path));
    } catch (error) {
      file.close();
      throw error;
    }
    this.#file = file;
    this.#size = data.length;
    this.#limit = Math.max(rotateAt, 2 * data.length);
  }
}

function recordsOf(id: string, { sent, relayed, removed }: JournalEntry): JournalRecord[] {
  if (removed) return [{ type: "removed", id }];
  const records: JournalRecord[] = [];
  for (const [index, dot] of relayed) {
    if (dot !== undefined) records.push(dotSent(id, index, dot));
    records.push({ type: "dotAnswered", id, recipients: [index], relayed: true });
  }
  for (const [index, dot] of sent) records.push(dotSent(id, index, dot));
  return records;
}

function dotSent(id: string, index: number, { host, address, at }: DotSent): JournalRecord {
  return { type: "dotSent", id, recipients: [index], host, address, at };
}
