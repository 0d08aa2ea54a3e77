/**
 * The queue on disk. A message is one immutable file; what became of its recipients is another, small one, written
 * anew after each attempt; what must be durable at once goes through the journal. docs/queue.md lists every legal
 * state of the directory and what a crash in each leaves.
 *
 * @module
 */
import { crc32 } from "node:zlib";
import { basename, join } from "@std/path";
import type { Logger } from "../observe/log.ts";
import { type Clock, systemClock } from "../smtp/clock.ts";
import { reply, SmtpError } from "../smtp/reply.ts";
import { DirectorySyncer } from "../storage/directory_syncer.ts";
import { denoFileSystem, type FileSystem } from "../storage/file_system.ts";
import { NewFile } from "../storage/new_file.ts";
import { type StagedMessage, StagingArea } from "../storage/staging.ts";
import { attempt, errorCode, StorageError } from "../storage/storage_error.ts";
import { Journal } from "./journal.ts";
import type { NewEntry, Queue, QueuedMessage, QueueSummary } from "./queue.ts";
import type { Attempt, QueueEntry, QueueRecipient } from "./queue_entry.ts";
import {
  decodeHead,
  decodeState,
  encodeHead,
  encodeState,
  formatCheck,
  isQueueId,
  MAX_ATTEMPTS_KEPT,
  SpoolFormatError,
  type SpoolHead,
} from "./spool_format.ts";

/** How to open a spool. */
export interface SpoolOptions {
  /** The directory; created when it is not there. */
  readonly directory: string;
  /** Where damage and failures are told. */
  readonly log: Logger;
  /** Tells the time for ids; default: the system's. */
  readonly clock?: Clock;
  /** Fills a buffer with random bytes; default: the system's source. */
  readonly random?: (buffer: Uint8Array<ArrayBuffer>) => void;
  /** The file system; default: the real one. */
  readonly fileSystem?: FileSystem;
  /**
   * Milliseconds from a final dot that a crash left without an answer to the next attempt: the remote may still be at
   * work on it. Default 60,000.
   */
  readonly resendAfter?: number;
  /** Octets of a message that are kept in memory until commit, a power of two from 16 KiB on; default 256 KiB. */
  readonly maxInMemory?: number;
}

/** Another process has this spool open. */
export class SpoolLockedError extends Error {
  /** That process, where it could be told. */
  readonly pid: number | undefined;

  /** Makes the error: the spool, and who has it. */
  constructor(directory: string, pid: number | undefined) {
    super(`the spool ${directory} is in use by ${pid === undefined ? "another process" : `process ${pid}`}`);
    this.name = "SpoolLockedError";
    this.pid = pid;
  }
}

/** The spool was written by a version that this one does not know. */
export class SpoolVersionError extends Error {
  /** Makes the error: the spool, and what its file `format` says. */
  constructor(directory: string, found: string) {
    super(
      `${join(directory, "format")} says ${
        JSON.stringify(found.slice(0, 80))
      }; this program reads "${FORMAT.trim()}"`,
    );
    this.name = "SpoolVersionError";
  }
}

/** A message on its way into the spool. Disposed without commit, it leaves nothing behind. */
export interface SpoolDraft extends AsyncDisposable {
  /** The queue id that the message will have. */
  readonly id: string;
  /** Octets so far. */
  readonly size: number;
  /**
   * Adds to the message. The chunk may be used again when the promise settles, or the call returns nothing.
   * @throws {SmtpError} 452 4.3.1 or 451 4.3.0
   */
  write(chunk: Uint8Array): Promise<void> | void;
  /**
   * Makes it durable, with these bytes (whole header fields) on top, and hands it to the queue.
   * @throws {SmtpError} 452 4.3.1 or 451 4.3.0; nothing is left behind then
   */
  commit(entry: Omit<NewEntry, "id" | "size">, prepend: Uint8Array): Promise<QueueSummary>;
}

const FORMAT = "mailapp spool 1\n";
// Consecutive messages share a directory, and so the syncs of it; a directory stays small enough to list at once.
const MESSAGES_PER_SHARD = 1000;
const SHARDS = 1024;
const SHARD_NAME = /^[0-9a-z]{2}$/;
const READ_SIZE = 4096;
// 1,000 recipients with ORCPT come to about 1 MB.
const MAX_HEAD = 16 * 1024 * 1024;
const CHUNK = 64 * 1024;
// Reading a million small files in other threads takes minutes; here it takes seconds, in slices that leave the event
// loop its turn.
const SLICE_MS = 10;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** An open spool; one process at a time has it. */
export class Spool implements Queue, AsyncDisposable {
  readonly #directory: string;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #random: (buffer: Uint8Array<ArrayBuffer>) => void;
  readonly #fileSystem: FileSystem;
  readonly #syncer: DirectorySyncer;
  readonly #staging: StagingArea;
  readonly #resendAfter: number;
  readonly #lock: Deno.FsFile;
  readonly #journal: Journal;
  readonly #buffer = new Uint8Array(READ_SIZE);
  readonly #shards = new Map<string, Promise<void>>();
  /** Changes of one entry's files, one after the other. */
  readonly #changes = new Map<string, Promise<void>>();
  readonly #background = new Set<Promise<void>>();
  /** Ids that a running scan must not yield, since they came after it began. */
  readonly #fresh = new Set<Set<string>>();
  /** Ids whose state was written during a running scan, which may have listed the states before. */
  readonly #touched = new Set<Set<string>>();
  readonly #firstShard: number;
  #sequence = 0;

  private constructor(
    options: SpoolOptions,
    parts: { lock: Deno.FsFile; journal: Journal; syncer: DirectorySyncer },
  ) {
    const fileSystem = options.fileSystem ?? denoFileSystem;
    this.#directory = options.directory;
    this.#log = options.log;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? ((buffer) => void crypto.getRandomValues(buffer));
    this.#fileSystem = fileSystem;
    this.#syncer = parts.syncer;
    this.#staging = new StagingArea({
      directory: join(options.directory, "incoming"),
      fileSystem,
      ...(options.maxInMemory !== undefined && { messageLimit: options.maxInMemory }),
    });
    this.#resendAfter = options.resendAfter ?? 60_000;
    this.#lock = parts.lock;
    this.#journal = parts.journal;
    this.#firstShard = this.#draw() % SHARDS;
  }

  /**
   * Opens a spool, creating it where there is none, and clears away what a crash left half written.
   * @throws {SpoolLockedError} when another process has it
   * @throws {SpoolVersionError} when a newer version wrote it
   */
  static async open(options: SpoolOptions): Promise<Spool> {
    const { directory, log, fileSystem = denoFileSystem } = options;
    const syncer = new DirectorySyncer({ fileSystem });
    for (const name of ["", "incoming", "messages", "states", "damaged"]) {
      await Deno.mkdir(join(directory, name), { recursive: true, mode: 0o700 });
    }
    const lock = await takeLock(directory);
    try {
      await checkFormat(directory, { fileSystem, syncer });
      await clearIncoming(directory, { fileSystem, log });
      const path = join(directory, "journal");
      const journal = await Journal.open({
        path,
        temporary: join(directory, "incoming", "journal"),
        fileSystem,
        syncer,
        log,
        exists: (id) => isFile(messagePath(directory, id)),
        keepDamaged: (reason) => {
          const kept = freeName(directory, "journal");
          Deno.copyFileSync(path, kept);
          log.error("queue.damaged", { file: path, reason, kept });
        },
      });
      return new Spool(options, { lock, journal, syncer });
    } catch (error) {
      lock.close();
      throw error;
    }
  }

  /** The spool's directory. */
  get directory(): string {
    return this.#directory;
  }

  /** A fresh id: lower-case letters and digits, the shard in its last two. */
  newId(): string {
    const sequence = this.#sequence++;
    const shard = (this.#firstShard + Math.floor(sequence / MESSAGES_PER_SHARD)) % SHARDS;
    // The time sorts; the sequence tells apart what one process makes within a millisecond or with a clock set back;
    // the random part does so between processes.
    return this.#clock.now().toString(36) + base36(sequence, 4) + base36(this.#draw(), 4) + base36(shard, 2);
  }

  /**
   * See {@linkcode Queue.add}.
   * @throws {SmtpError} 452 4.3.1 or 451 4.3.0; nothing is left behind then
   */
  async add(entry: NewEntry, message: Uint8Array): Promise<void> {
    await using draft = this.begin(entry.id);
    await draft.write(message);
    await draft.commit(entry, new Uint8Array());
  }

  /** Begins to take a message that arrives in pieces. */
  begin(id: string): SpoolDraft {
    if (!isQueueId(id)) throw new TypeError(`not a queue id: ${id}`);
    return new Draft(id, {
      temporary: join(this.#directory, "incoming", id),
      fileSystem: this.#fileSystem,
      staged: this.#staging.stage(),
      enter: (file) => this.#enter(id, file),
    });
  }

  /** See {@linkcode Queue.scan}. Yields from the start on; entries added meanwhile are not among them. */
  async *scan(): AsyncGenerator<QueueSummary, void, void> {
    const fresh = new Set<string>();
    const touched = new Set<string>();
    this.#fresh.add(fresh);
    this.#touched.add(touched);
    try {
      const domains = new Map<string, string>();
      const unreadable: string[] = [];
      const slice = new Slice();
      for (const shard of this.#listShards()) {
        const states = this.#listStates(shard);
        for (const id of this.#listMessages(shard)) {
          const hasState = states.delete(id);
          if (fresh.has(id)) continue;
          if (slice.over()) await slice.pause();
          const entry = this.#scanOne(id, { hasState: hasState || touched.has(id), unreadable });
          const summary = entry && summarize(entry, domains);
          if (summary !== undefined) yield summary;
          else if (entry !== undefined && isDone(entry)) await this.remove(id);
        }
        await this.#clearOrphans(states);
      }
      for (const id of unreadable) {
        const entry = await this.load(id).catch((error) => {
          this.#log.error("queue.unreadable", { id, error: String(error) });
          return undefined;
        });
        const summary = entry && summarize(entry, domains);
        if (summary !== undefined) yield summary;
      }
    } finally {
      this.#fresh.delete(fresh);
      this.#touched.delete(touched);
    }
  }

  /** See {@linkcode Queue.ids}. */
  async *ids(): AsyncGenerator<string, void, void> {
    const slice = new Slice();
    for (const shard of this.#listShards()) {
      for (const id of this.#listMessages(shard)) {
        if (!this.#journal.get(id)?.removed) yield id;
      }
      if (slice.over()) await slice.pause();
    }
  }

  /** See {@linkcode Queue.load}. */
  // deno-lint-ignore require-await
  async load(id: string): Promise<QueueEntry | undefined> {
    if (!isQueueId(id)) return undefined;
    return this.#readGuarded(id, undefined);
  }

  /** See {@linkcode Queue.update}. An entry that is gone stays gone. */
  update(entry: QueueEntry): Promise<void> {
    const { id } = entry;
    // What stands in the entry now, whatever happens to it while the disk is at work.
    const text = encodeState(entry);
    const covered = entry.recipients.map(coverage);
    return this.#change(id, async () => {
      if (!isFile(messagePath(this.#directory, id))) return;
      for (const touched of this.#touched) touched.add(id);
      const shard = shardOf(id);
      await this.#makeShard(shard);
      const temporary = join(this.#directory, "incoming", `${id}.json`);
      const file = await NewFile.create(temporary, { mode: 0o600, fileSystem: this.#fileSystem });
      await file.write(encoder.encode(text));
      await file.finish();
      await file.publish(statePath(this.#directory, id));
      await this.#syncer.sync(join(this.#directory, "states", shard));
      covered.forEach(({ final, dots }, index) => {
        if (final) this.#journal.forgetRecipient(id, index, "relayed");
        const sent = this.#journal.get(id)?.sent.get(index);
        if (sent !== undefined && dots.includes(sent.at)) this.#journal.forgetRecipient(id, index, "sent");
      });
    });
  }

  /** See {@linkcode Queue.remove}. */
  remove(id: string): Promise<void> {
    if (!isQueueId(id)) return Promise.resolve();
    return this.#change(id, async () => {
      if (!isFile(messagePath(this.#directory, id))) return;
      // From here on a crash finishes the removal instead of undoing half of it, so that the directory may be synced
      // later, together with other removals.
      await this.#journal.append({ type: "removed", id });
      await this.#unlink(id);
    });
  }

  /**
   * See {@linkcode Queue.open}. A message that does not match its check is put aside, and reading it fails before its
   * last bytes are given out.
   * @throws {Deno.errors.NotFound} when it is gone
   */
  async open(id: string): Promise<QueuedMessage> {
    const path = isQueueId(id) ? messagePath(this.#directory, id) : undefined;
    const read = path === undefined ? undefined : this.#readHead(id);
    if (path === undefined || read === undefined) {
      throw new Deno.errors.NotFound(`no message ${id} in the queue`);
    }
    const file = await Deno.open(path);
    return new StoredMessage(file, {
      start: read.length,
      size: read.head.entry.size,
      check: read.head.messageCheck,
      damaged: (reason) => this.#damaged(id, reason),
    });
  }

  /** See {@linkcode Queue.dotSent}. */
  dotSent(
    id: string,
    attempt: { recipients: readonly number[]; host: string; address: string; at: number },
  ): Promise<void> {
    const { recipients, host, address, at } = attempt;
    return this.#journal.append({ type: "dotSent", id, recipients, host, address, at });
  }

  /** See {@linkcode Queue.dotAnswered}. */
  dotAnswered(id: string, outcome: { recipients: readonly number[]; relayed: boolean }): Promise<void> {
    const { recipients, relayed } = outcome;
    return this.#journal.append({ type: "dotAnswered", id, recipients, relayed });
  }

  /** Finishes what is being written and lets another process have the spool. */
  async close(): Promise<void> {
    while (this.#changes.size > 0) await Promise.allSettled(this.#changes.values());
    while (this.#background.size > 0) await Promise.all(this.#background);
    await this.#journal.close();
    this.#lock.close();
  }

  /** The same as {@linkcode Spool.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** 32 random bits. */
  #draw(): number {
    const bytes = new Uint8Array(4);
    this.#random(bytes);
    return new DataView(bytes.buffer).getUint32(0);
  }

  /** Gives a finished file its place: the commit point. */
  async #enter(id: string, file: NewFile): Promise<void> {
    const shard = shardOf(id);
    await this.#makeShard(shard);
    for (const fresh of this.#fresh) fresh.add(id);
    const path = messagePath(this.#directory, id);
    await file.publish(path);
    try {
      await this.#syncer.sync(join(this.#directory, "messages", shard));
    } catch (error) {
      // Nobody was told that it is ours; with the file gone it is not.
      await this.#fileSystem.remove(path).catch(() => {});
      throw error;
    }
  }

  #makeShard(shard: string): Promise<void> {
    let made = this.#shards.get(shard);
    if (made === undefined) {
      made = this.#makeShardNow(shard);
      this.#shards.set(shard, made);
      // The next one tries again.
      made.catch(() => this.#shards.delete(shard));
    }
    return made;
  }

  async #makeShardNow(shard: string): Promise<void> {
    for (const kind of ["messages", "states"]) {
      const parent = join(this.#directory, kind);
      const path = join(parent, shard);
      if (lstat(path)?.isDirectory) continue;
      await attempt("create directory", path, () => Deno.mkdir(path, { mode: 0o700 }));
      await this.#syncer.sync(parent);
    }
  }

  #change(id: string, work: () => Promise<void>): Promise<void> {
    const previous = this.#changes.get(id);
    const change = previous === undefined ? work() : previous.then(work, work);
    const settled: Promise<void> = change.catch(() => {}).then(() => {
      if (this.#changes.get(id) === settled) this.#changes.delete(id);
    });
    this.#changes.set(id, settled);
    return change;
  }

  async #unlink(id: string): Promise<void> {
    await removeIfThere(this.#fileSystem, messagePath(this.#directory, id));
    await removeIfThere(this.#fileSystem, statePath(this.#directory, id));
    const synced = this.#syncer.sync(join(this.#directory, "messages", shardOf(id))).then(
      () => this.#journal.forget(id),
      // The record stays: the removal is made sure of at the next start.
      (error) => this.#log.warn("queue.remove", { id, error: String(error) }),
    ).then(() => void this.#background.delete(synced));
    this.#background.add(synced);
  }

  *#listShards(): Generator<string> {
    const messages = join(this.#directory, "messages");
    for (const { name, isDirectory } of Deno.readDirSync(messages)) {
      if (isDirectory && SHARD_NAME.test(name)) yield name;
      else this.#aside(join(messages, name), "not a name of ours");
    }
  }

  *#listMessages(shard: string): Generator<string> {
    const directory = join(this.#directory, "messages", shard);
    for (const { name, isFile } of Deno.readDirSync(directory)) {
      if (isFile && isQueueId(name) && shardOf(name) === shard) yield name;
      else this.#aside(join(directory, name), "not a name of ours");
    }
  }

  #listStates(shard: string): Set<string> {
    const directory = join(this.#directory, "states", shard);
    const ids = new Set<string>();
    try {
      for (const { name, isFile } of Deno.readDirSync(directory)) {
        const id = name.endsWith(".json") ? name.slice(0, -".json".length) : "";
        if (isFile && isQueueId(id) && shardOf(id) === shard) ids.add(id);
        else this.#aside(join(directory, name), "not a name of ours");
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    return ids;
  }

  async #clearOrphans(states: Set<string>): Promise<void> {
    for (const id of states) {
      // A crash between the two renames of a damaged entry leaves its state behind.
      if (isFile(join(this.#directory, "damaged", id))) {
        this.#aside(statePath(this.#directory, id), "its message is damaged");
      } else if (!isFile(messagePath(this.#directory, id))) {
        await removeIfThere(this.#fileSystem, statePath(this.#directory, id));
      }
    }
  }

  #scanOne(
    id: string,
    { hasState, unreadable }: { hasState: boolean; unreadable: string[] },
  ): QueueEntry | undefined {
    try {
      return this.#readGuarded(id, hasState);
    } catch {
      // Out of descriptors, perhaps; it is tried again, and logged, at the end.
      unreadable.push(id);
      return undefined;
    }
  }

  /** Reads an entry; a damaged one is put aside and is as good as gone. */
  #readGuarded(id: string, hasState: boolean | undefined): QueueEntry | undefined {
    try {
      return this.#readEntry(id, hasState);
    } catch (error) {
      if (!(error instanceof SpoolFormatError)) throw error;
      this.#damaged(id, error.message);
      return undefined;
    }
  }

  /** @param hasState whether there is a state file; `undefined` = look */
  #readEntry(id: string, hasState: boolean | undefined): QueueEntry | undefined {
    const journal = this.#journal.get(id);
    if (journal?.removed) {
      this.#background.add(this.#finishRemoval(id));
      return undefined;
    }
    const entry = this.#readHead(id)?.head.entry;
    if (entry === undefined) return undefined;
    if (hasState !== false) {
      const text = readTextIfThere(statePath(this.#directory, id));
      if (text !== undefined) {
        try {
          decodeState(text, entry);
        } catch (error) {
          if (error instanceof SpoolFormatError) throw new SpoolFormatError(`state file: ${error.message}`);
          throw error;
        }
      }
    }
    if (journal !== undefined) {
      entry.recipients.forEach((recipient, index) => {
        const relayed = journal.relayed.has(index);
        const dot = relayed ? journal.relayed.get(index) : journal.sent.get(index);
        if (relayed) markRelayed(recipient, dot);
        else if (dot?.inherited) markUnanswered(recipient, dot, this.#resendAfter);
      });
    }
    return entry;
  }

  #finishRemoval(id: string): Promise<void> {
    const finished: Promise<void> = this.#change(id, () => this.#unlink(id)).catch((error) =>
      this.#log.warn("queue.remove", { id, error: String(error) })
    ).then(() => void this.#background.delete(finished));
    return finished;
  }

  #readHead(id: string): { head: SpoolHead; length: number } | undefined {
    let file: Deno.FsFile;
    try {
      file = Deno.openSync(messagePath(this.#directory, id));
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
    try {
      let bytes = this.#buffer.subarray(0, file.readSync(this.#buffer) ?? 0);
      // A read comes short only at the end of the file, which then needs no stat.
      const whole = bytes.length < READ_SIZE;
      let lf = bytes.indexOf(10);
      while (lf < 0 && !whole && bytes.length < MAX_HEAD) {
        const longer = new Uint8Array(bytes.length * 4);
        longer.set(bytes);
        const read = file.readSync(longer.subarray(bytes.length)) ?? 0;
        if (read === 0) break;
        bytes = longer.subarray(0, bytes.length + read);
        lf = bytes.indexOf(10);
      }
      if (bytes.length === 0) throw new SpoolFormatError("empty");
      if (lf < 0) throw new SpoolFormatError("cut short: the head has no end");
      const head = decodeHead(decodeText(bytes.subarray(0, lf)), id);
      const expected = lf + 1 + head.entry.size;
      const size = whole ? bytes.length : file.statSync().size;
      if (size < expected) throw new SpoolFormatError(`cut short: ${size} of ${expected} octets`);
      if (size > expected) throw new SpoolFormatError(`too long: ${size} instead of ${expected} octets`);
      return { head, length: lf + 1 };
    } finally {
      file.close();
    }
  }

  #damaged(id: string, reason: string): void {
    const journal = this.#journal.describe(id);
    // The message first: a message without its state looks as if it had never been tried.
    const kept = this.#aside(messagePath(this.#directory, id), reason);
    if (isFile(statePath(this.#directory, id))) this.#aside(statePath(this.#directory, id), reason);
    if (journal !== "" && kept !== undefined) Deno.writeTextFileSync(`${kept}.journal`, journal);
    this.#journal.forget(id);
  }

  #aside(path: string, reason: string): string | undefined {
    return putAside(path, { directory: this.#directory, reason, log: this.#log });
  }
}

interface DraftOptions {
  readonly temporary: string;
  readonly fileSystem: FileSystem;
  readonly staged: StagedMessage;
  /** Gives the finished file its place. */
  readonly enter: (file: NewFile) => Promise<void>;
}

/** A message being written. */
class Draft implements SpoolDraft {
  readonly id: string;
  readonly #options: DraftOptions;

  constructor(id: string, options: DraftOptions) {
    this.id = id;
    this.#options = options;
  }

  get size(): number {
    return this.#options.staged.size;
  }

  write(chunk: Uint8Array): Promise<void> | void {
    return this.#options.staged.write(chunk)?.catch((error) => {
      throw storageFailure(error);
    });
  }

  async commit(rest: Omit<NewEntry, "id" | "size">, prepend: Uint8Array): Promise<QueueSummary> {
    const { staged, temporary, fileSystem, enter } = this.#options;
    const entry: NewEntry = { ...rest, id: this.id, size: prepend.length + staged.size };
    let file: NewFile | undefined;
    try {
      // Read twice where it is large: the head stands before the message and tells its check.
      let check = crc32(prepend);
      for await (const chunk of staged.chunks()) check = crc32(chunk, check);
      const head = encoder.encode(encodeHead(entry, formatCheck(check)));
      file = await NewFile.create(temporary, { mode: 0o600, fileSystem });
      const [first, rest] = staged.onDisk ? [undefined, staged.chunks()] : [await only(staged.chunks()), []];
      await file.write(concat(head, prepend, first ?? new Uint8Array()));
      for await (const chunk of rest) await file.write(chunk);
      await file.finish();
      await enter(file);
    } catch (error) {
      await file?.discard();
      throw storageFailure(error);
    } finally {
      staged[Symbol.dispose]();
    }
    return summarize(entry, new Map()) ?? { id: entry.id, acceptedAt: entry.acceptedAt, due: [] };
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#options.staged[Symbol.dispose]();
    return Promise.resolve();
  }
}

/** A stored message being read. */
class StoredMessage implements QueuedMessage {
  readonly size: number;
  readonly #file: Deno.FsFile;
  readonly #options: {
    readonly start: number;
    readonly check: string | undefined;
    readonly damaged: (reason: string) => void;
  };
  #open = true;

  constructor(
    file: Deno.FsFile,
    options: {
      readonly start: number;
      readonly size: number;
      readonly check: string | undefined;
      readonly damaged: (reason: string) => void;
    },
  ) {
    this.#file = file;
    this.size = options.size;
    this.#options = options;
  }

  async *chunks(): AsyncGenerator<Uint8Array, void, void> {
    const { start, check, damaged } = this.#options;
    await this.#file.seek(start, Deno.SeekMode.Start);
    const buffer = new Uint8Array(Math.min(CHUNK, Math.max(this.size, 1)));
    let left = this.size;
    let sum = 0;
    while (left > 0) {
      const read = await this.#file.read(buffer.subarray(0, Math.min(left, buffer.length)));
      if (read === null) break;
      const chunk = buffer.subarray(0, read);
      left -= read;
      if (check !== undefined) sum = crc32(chunk, sum);
      // Before the last bytes are given out, so that a damaged message is never sent to its end.
      if (left === 0 && check !== undefined && formatCheck(sum) !== check) left = -1;
      else yield chunk;
    }
    if (left === 0) return;
    const reason = left > 0 ? "cut short while it was read" : "the message does not match its check";
    damaged(reason);
    throw new SpoolFormatError(reason);
  }

  [Symbol.asyncDispose](): Promise<void> {
    if (this.#open) {
      this.#open = false;
      this.#file.close();
    }
    return Promise.resolve();
  }
}

/** Work that gives the event loop its turn now and then. */
class Slice {
  #began = performance.now();

  /** Whether this slice has lasted long enough. */
  over(): boolean {
    return performance.now() - this.#began > SLICE_MS;
  }

  async pause(): Promise<void> {
    await new Promise<void>((resolve) => setTimeout(resolve, 0));
    this.#began = performance.now();
  }
}

function summarize(entry: QueueEntry, domains: Map<string, string>): QueueSummary | undefined {
  const due: { domain: string; at: number }[] = [];
  let unfinished = false;
  for (const { status, settled, notice, domain, nextAttemptAt } of entry.recipients) {
    if (notice !== undefined || (isFinal(status) && !settled)) unfinished = true;
    if (status !== "pending") continue;
    const known = due.find((item) => item.domain === domain);
    if (known !== undefined) known.at = Math.min(known.at, nextAttemptAt);
    else {
      // One string for a domain, not one for each of its messages.
      let shared = domains.get(domain);
      if (shared === undefined) domains.set(domain, shared = domain);
      due.push({ domain: shared, at: nextAttemptAt });
    }
  }
  const { id, acceptedAt } = entry;
  if (unfinished) return { id, acceptedAt, due, unfinished };
  return due.length > 0 ? { id, acceptedAt, due } : undefined;
}

function isFinal(status: QueueRecipient["status"]): boolean {
  return status !== "pending" && status !== "held";
}

function isDone(entry: QueueEntry): boolean {
  return entry.recipients.every(({ status, settled, notice }) =>
    isFinal(status) && settled && notice === undefined
  );
}

/** What a state file with this recipient in it makes the journal free to forget. */
function coverage({ status, attempts }: QueueRecipient): { final: boolean; dots: number[] } {
  return { final: isFinal(status), dots: attempts.filter((item) => item.dotSentNoReply).map(({ at }) => at) };
}

/** Shows what the journal knows: a server took it, and the process died before the state was written. */
function markRelayed(
  recipient: QueueRecipient,
  dot: { host: string; address: string; at: number } | undefined,
): void {
  if (isFinal(recipient.status)) return;
  recipient.status = "relayed";
  recipient.attemptCount++;
  // The reply is lost, and with it whether the peer would send notices; without NOTIFY=SUCCESS nobody waits for one.
  recipient.settled = !(recipient.notify?.includes("SUCCESS") ?? false);
  if (dot === undefined) return;
  const { at, host, address } = dot;
  addAttempt(recipient, { at, host, address, status: "2.0.0" });
}

/** Shows a dot whose answer a crash kept from us (RFC 1047). */
function markUnanswered(
  recipient: QueueRecipient,
  { at, host, address }: { host: string; address: string; at: number },
  resendAfter: number,
): void {
  const { attempts } = recipient;
  const oldest = attempts[0];
  // The state was written after all, or so long ago that this attempt has fallen out of it.
  if (isFinal(recipient.status) || attempts.some((item) => item.at === at && item.dotSentNoReply)) return;
  if (attempts.length >= MAX_ATTEMPTS_KEPT && oldest !== undefined && oldest.at > at) return;
  recipient.attemptCount++;
  recipient.nextAttemptAt = Math.max(recipient.nextAttemptAt, at + resendAfter);
  const error = "no answer to the final dot: the process ended while it waited";
  addAttempt(recipient, { at, host, address, error, status: "4.4.2", dotSentNoReply: true });
}

function addAttempt(recipient: QueueRecipient, attempt: Attempt): void {
  recipient.attempts = [...recipient.attempts, attempt].slice(-MAX_ATTEMPTS_KEPT);
}

/** The reply for a failure to store (RFC 3463 §3.4). */
function storageFailure(cause: unknown): SmtpError {
  if (cause instanceof SmtpError) return cause;
  const full = cause instanceof StorageError && (cause.fault === "no-space" || cause.fault === "over-quota");
  return full
    ? new SmtpError(reply(452, "4.3.1", "Insufficient system storage; try again later"), { cause })
    : new SmtpError(reply(451, "4.3.0", "Local error in processing; try again later"), { cause });
}

async function takeLock(directory: string): Promise<Deno.FsFile> {
  const path = join(directory, "lock");
  const file = await Deno.open(path, { create: true, read: true, write: true, mode: 0o600 });
  try {
    if (!await file.tryLock(true)) {
      const pid = Number.parseInt(await Deno.readTextFile(path), 10);
      throw new SpoolLockedError(directory, Number.isNaN(pid) ? undefined : pid);
    }
    await file.truncate();
    await file.write(encoder.encode(`${Deno.pid}\n`));
    return file;
  } catch (error) {
    file.close();
    throw error;
  }
}

async function checkFormat(
  directory: string,
  { fileSystem, syncer }: { fileSystem: FileSystem; syncer: DirectorySyncer },
): Promise<void> {
  const path = join(directory, "format");
  const found = readTextIfThere(path);
  if (found === FORMAT) return;
  if (found !== undefined) throw new SpoolVersionError(directory, found);
  const temporary = join(directory, "incoming", "format");
  await removeIfThere(fileSystem, temporary);
  const file = await NewFile.create(temporary, { mode: 0o600, fileSystem });
  await file.write(encoder.encode(FORMAT));
  await file.finish();
  await file.publish(path);
  await syncer.sync(directory);
}

// Queue ids, states, and the names that storage/staging.ts gives for a moment.
const INCOMING = /^(?:format|journal|[0-9a-z]{8,32}(?:\.json)?|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/;

/** Whatever stands in incoming under the lock was never committed. */
async function clearIncoming(
  directory: string,
  { fileSystem, log }: { fileSystem: FileSystem; log: Logger },
): Promise<void> {
  for (const { name, isFile } of Deno.readDirSync(join(directory, "incoming"))) {
    const path = join(directory, "incoming", name);
    if (isFile && INCOMING.test(name)) await removeIfThere(fileSystem, path);
    else putAside(path, { directory, reason: "not a name of ours", log });
  }
}

function putAside(
  path: string,
  { directory, reason, log }: { directory: string; reason: string; log: Logger },
): string | undefined {
  const kept = freeName(directory, basename(path));
  try {
    Deno.renameSync(path, kept);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) {
      log.error("queue.damaged", { file: path, reason, error: `it could not be moved: ${error}` });
    }
    return undefined;
  }
  log.error("queue.damaged", { file: path, reason, kept });
  return kept;
}

function freeName(directory: string, name: string): string {
  const first = join(directory, "damaged", name);
  let path = first;
  for (let n = 1; lstat(path) !== undefined; n++) path = `${first}.${n}`;
  return path;
}

function shardOf(id: string): string {
  return id.slice(-2);
}

function messagePath(directory: string, id: string): string {
  return `${directory}/messages/${shardOf(id)}/${id}`;
}

function statePath(directory: string, id: string): string {
  return `${directory}/states/${shardOf(id)}/${id}.json`;
}

/** The last `digits` digits of a number in base 36. */
function base36(value: number, digits: number): string {
  return value.toString(36).padStart(digits, "0").slice(-digits);
}

function decodeText(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw new SpoolFormatError("not UTF-8");
  }
}

function readTextIfThere(path: string): string | undefined {
  let bytes: Uint8Array;
  try {
    bytes = Deno.readFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  return decodeText(bytes);
}

function lstat(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.lstatSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

function isFile(path: string): boolean {
  return lstat(path)?.isFile ?? false;
}

async function removeIfThere(fileSystem: FileSystem, path: string): Promise<void> {
  try {
    await fileSystem.remove(path);
  } catch (cause) {
    if (errorCode(cause) !== "ENOENT") throw new StorageError("remove", { path, cause });
  }
}

async function only(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array | undefined> {
  for await (const chunk of chunks) return chunk;
  return undefined;
}

function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
