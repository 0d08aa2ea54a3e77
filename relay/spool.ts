/**
 * The queue on disk. A message is one immutable file; what became of its recipients is another, small one, written
 * anew after each attempt; what must be durable at once goes through the journal. docs/queue.md lists every legal
 * state of the directory and what a crash in each leaves.
 *
 * @module
 */
import { join } from "@std/path";
import type { Logger } from "../observe/log.ts";
import { type Clock, systemClock } from "../smtp/clock.ts";
import { DirectorySyncer } from "../storage/directory_syncer.ts";
import { denoFileSystem, type FileSystem } from "../storage/file_system.ts";
import { NewFile } from "../storage/new_file.ts";
import { StagingArea } from "../storage/staging.ts";
import { attempt } from "../storage/storage_error.ts";
import { FreshMessages } from "./fresh_messages.ts";
import { type DotSent, Journal } from "./journal.ts";
import type { NewEntry, Queue, QueuedMessage, QueueSummary } from "./queue.ts";
import type { QueueEntry, QueueRecipient } from "./queue_entry.ts";
import {
  checkFormat,
  clearIncoming,
  decodeText,
  freeName,
  isFile,
  lstat,
  messagePath,
  putAside,
  readTextIfThere,
  removeIfThere,
  shardOf,
  statePath,
  takeLock,
} from "./spool_directory.ts";
import { applyJournal, coverage, isDone, summarize } from "./spool_entry.ts";
import {
  decodeHead,
  decodeState,
  encodeState,
  isQueueId,
  SpoolFormatError,
  type SpoolHead,
} from "./spool_format.ts";
import { digestOf, type IndexLine, markOf, sameMark, SpoolIndex, summarizeLine } from "./spool_index.ts";
import { Draft, type SpoolDraft, StoredMessage } from "./spool_message.ts";

/** How to open a spool. */
export interface SpoolOptions {
  /** The directory; created when it is not there. */
  readonly directory: string;
  /** Where damage and failures are told. */
  readonly logger: Logger;
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

// Octets of a message that is kept in memory for its first attempt, and of all of them.
const MAX_FRESH = 256 * 1024;
const MAX_FRESH_TOTAL = 16 * 1024 ** 2;
// Consecutive messages share a directory, and so the syncs of it; a directory stays small enough to list at once.
const MESSAGES_PER_SHARD = 1000;
const SHARDS = 1024;
const SHARD_NAME = /^[0-9a-z]{2}$/;
const READ_SIZE = 4096;
// 1,000 recipients with ORCPT come to about 1 MB.
const MAX_HEAD = 16 * 1024 * 1024;
// Reading a million small files in other threads takes minutes; here it takes seconds, in slices that leave the event
// loop its turn.
const SLICE_MS = 10;

const encoder = new TextEncoder();

/** An open spool; one process at a time has it. */
export class Spool implements Queue, AsyncDisposable {
  readonly #directory: string;
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #random: (buffer: Uint8Array<ArrayBuffer>) => void;
  readonly #fileSystem: FileSystem;
  readonly #syncer: DirectorySyncer;
  readonly #staging: StagingArea;
  readonly #resendAfter: number;
  #lock: Deno.FsFile | undefined;
  readonly #journal: Journal;
  readonly #index: SpoolIndex;
  readonly #buffer = new Uint8Array(READ_SIZE);
  readonly #shards = new Map<string, Promise<void>>();
  /** Changes of one entry's files, one after the other. */
  readonly #changes = new Map<string, Promise<void>>();
  readonly #background = new Set<Promise<void>>();
  /** Ids that a running scan must not yield, since they came after it began. */
  readonly #fresh = new Set<Set<string>>();
  /** Ids whose state was written during a running scan, which may have listed the states before. */
  readonly #touched = new Set<Set<string>>();
  /** Dots of an earlier process whose missing answer stands in the log. */
  readonly #told = new WeakSet<DotSent>();
  readonly #freshMessages = new FreshMessages(MAX_FRESH_TOTAL);
  readonly #firstShard: number;
  /** Whether a scan of this process has held every line of the index against its message. */
  #indexed = false;
  #sequence = 0;

  private constructor(
    options: SpoolOptions,
    parts: { lock: Deno.FsFile; journal: Journal; syncer: DirectorySyncer },
  ) {
    const fileSystem = options.fileSystem ?? denoFileSystem;
    this.#directory = options.directory;
    this.#logger = options.logger;
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
    this.#index = new SpoolIndex({
      directory: join(options.directory, "index"),
      logger: options.logger,
      exists: (id) => isFile(messagePath(options.directory, id)),
    });
    this.#firstShard = this.#draw() % SHARDS;
  }

  /**
   * Opens a spool, creating it where there is none, and clears away what a crash left half written.
   * @throws {SpoolLockedError} when another process has it
   * @throws {SpoolVersionError} when a newer version wrote it
   */
  static async open(options: SpoolOptions): Promise<Spool> {
    const { directory, logger, fileSystem = denoFileSystem } = options;
    const syncer = new DirectorySyncer({ fileSystem });
    for (const name of ["", "incoming", "messages", "states", "damaged"]) {
      await Deno.mkdir(join(directory, name), { recursive: true, mode: 0o700 });
    }
    const lock = await takeLock(directory);
    try {
      await checkFormat(directory, { fileSystem, syncer });
      await clearIncoming(directory, { fileSystem, logger });
      const path = join(directory, "journal");
      const journal = await Journal.open({
        path,
        temporary: join(directory, "incoming", "journal"),
        fileSystem,
        syncer,
        logger,
        exists: (id) => isFile(messagePath(directory, id)),
        keepDamaged: (reason) => {
          const kept = freeName(directory, "journal");
          Deno.copyFileSync(path, kept);
          logger.error("queue.damaged", { file: path, reason, kept });
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
      enter: (file, entry, message) => this.#enter(file, entry, message),
    });
  }

  /**
   * See {@linkcode Queue.scan}. Yields from the start on; entries added meanwhile are not among them.
   * @throws {AggregateError} at the end, where a folder could not be read
   */
  async *scan(): AsyncGenerator<QueueSummary, void, void> {
    const scan: Scan = {
      fresh: new Set(),
      touched: new Set(),
      domains: new Map(),
      unreadable: [],
      slice: new Slice(),
    };
    this.#fresh.add(scan.fresh);
    this.#touched.add(scan.touched);
    const failures: unknown[] = [];
    try {
      for (const shard of this.#listShards()) {
        try {
          yield* this.#scanShard(shard, scan);
        } catch (error) {
          failures.push(new Error(`${shard}: ${error}`, { cause: error }));
        }
      }
      for (const id of scan.unreadable) {
        const entry = await this.load(id).catch((error) => {
          this.#logger.error("queue.unreadable", { id, error: String(error) });
          return undefined;
        });
        const summary = entry && summarize(entry, scan.domains);
        if (summary !== undefined) yield summary;
      }
    } finally {
      this.#fresh.delete(scan.fresh);
      this.#touched.delete(scan.touched);
    }
    this.#indexed = failures.length === 0;
    if (failures.length > 0) {
      throw new AggregateError(
        failures,
        `folders that could not be read: ${failures.map(messageOf).join("; ")}`,
      );
    }
  }

  async *#scanShard(shard: string, scan: Scan): AsyncGenerator<QueueSummary, void, void> {
    const { fresh, touched, domains, unreadable, slice } = scan;
    const states = this.#listStates(shard);
    const index = this.#index.read(shard);
    const used = new Map<string, IndexLine>();
    for (const id of this.#listMessages(shard)) {
      const hasState = states.delete(id);
      if (fresh.has(id)) continue;
      if (slice.over()) await slice.pause();
      const indexed = touched.has(id) ? undefined : this.#lookUp(id, { lines: index.lines, hasState });
      if (indexed !== undefined) {
        used.set(id, indexed);
        const summary = summarizeLine(id, indexed, domains);
        if (summary !== undefined) yield summary;
        else if (indexed.done) await this.#clear(id, () => this.remove(id));
        continue;
      }
      const entry = this.#scanOne(id, { hasState: hasState || touched.has(id), unreadable });
      const summary = entry && summarize(entry, domains);
      if (summary !== undefined) yield summary;
      else if (entry !== undefined && isDone(entry)) await this.#clear(id, () => this.remove(id));
    }
    if (index.count > used.size + MESSAGES_PER_SHARD) await this.#index.rewrite(shard, used);
    for (const id of states) await this.#clear(id, () => this.#clearOrphan(id));
  }

  /** Clears away what is over; where that fails, the next start does. */
  async #clear(id: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#logger.warn("queue.not_removed", { id, error: String(error) });
    }
  }

  /** See {@linkcode Queue.ids}. */
  async *ids(
    hint: { readonly domain?: string; readonly sender?: string } = {},
  ): AsyncGenerator<string, void, void> {
    const { domain, sender } = hint;
    const all = domain === undefined && sender === undefined;
    const slice = new Slice();
    for (const shard of this.#listShards()) {
      const lines = all ? undefined : this.#index.read(shard).lines;
      for (const id of this.#listMessages(shard)) {
        if (slice.over()) await slice.pause();
        if (this.#journal.get(id)?.removed) continue;
        const line = lines?.get(id);
        // Nobody edits a message while the server has it.
        if (line !== undefined && !mayMean(line, hint) && (this.#indexed || this.#isAbout(line, id))) {
          continue;
        }
        yield id;
      }
      if (slice.over()) await slice.pause();
    }
  }

  /** See {@linkcode Queue.load}. */
  // deno-lint-ignore require-await
  async load(id: string): Promise<QueueEntry | undefined> {
    if (!isQueueId(id)) return undefined;
    const fresh = this.#journal.get(id) === undefined ? this.#freshMessages.takeEntry(id) : undefined;
    if (fresh !== undefined) return fresh;
    return this.#readGuarded(id, undefined);
  }

  /** See {@linkcode Queue.update}. An entry that is gone stays gone. */
  update(entry: QueueEntry): Promise<void> {
    const { id } = entry;
    // What stands in the entry now, whatever happens to it while the disk is at work.
    const text = encodeState(entry);
    const covered = entry.recipients.map(coverage);
    const digest = digestOf(entry);
    return this.#change(id, async () => {
      this.#freshMessages.delete(id);
      const message = lstat(messagePath(this.#directory, id));
      if (!message?.isFile) return;
      for (const touched of this.#touched) touched.add(id);
      const shard = shardOf(id);
      await this.#makeShard(shard);
      const temporary = join(this.#directory, "incoming", `${id}.json`);
      const file = await NewFile.create(temporary, { mode: 0o600, fileSystem: this.#fileSystem });
      await file.write(encoder.encode(text));
      await file.finish();
      await file.publish(statePath(this.#directory, id));
      await this.#syncer.sync(join(this.#directory, "states", shard));
      const state = lstat(statePath(this.#directory, id));
      if (state !== undefined) {
        this.#index.note(id, { digest, marks: { message: markOf(message), state: markOf(state) } });
      }
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
      const stateless = this.#freshMessages.has(id);
      if (!stateless && !isFile(messagePath(this.#directory, id))) return;
      // From here on a crash finishes the removal instead of undoing half of it, so that the directory may be synced
      // later, together with other removals.
      await this.#journal.append({ type: "removed", id });
      this.#freshMessages.delete(id);
      await this.#unlink(id, { stateless });
    });
  }

  /**
   * See {@linkcode Queue.open}. A message that does not match its check is put aside, and reading it fails before its
   * last bytes are given out.
   * @throws {Deno.errors.NotFound} when it is gone
   */
  async open(id: string): Promise<QueuedMessage> {
    const fresh = this.#freshMessages.open(id);
    if (fresh !== undefined) return fresh;
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

  /** Finishes what is being written and lets another process have the spool. Safe to call twice. */
  async close(): Promise<void> {
    while (this.#changes.size > 0) await Promise.allSettled(this.#changes.values());
    while (this.#background.size > 0) await Promise.all(this.#background);
    await this.#journal.close();
    await this.#index.close();
    this.#lock?.close();
    this.#lock = undefined;
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
  async #enter(file: NewFile, entry: NewEntry, message: Uint8Array | undefined): Promise<void> {
    const { id } = entry;
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
    this.#noteFresh(entry);
    if (message !== undefined && message.length <= MAX_FRESH) this.#freshMessages.add(entry, message);
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
      await attempt("create directory", path, () => Deno.mkdir(path, { recursive: true, mode: 0o700 }));
      // Also where it is there: the process that made it may have died before this.
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

  async #unlink(id: string, { stateless = false } = {}): Promise<void> {
    await removeIfThere(this.#fileSystem, messagePath(this.#directory, id));
    if (!stateless) await removeIfThere(this.#fileSystem, statePath(this.#directory, id));
    const synced = this.#syncer.sync(join(this.#directory, "messages", shardOf(id))).then(
      () => this.#journal.forget(id),
      // The record stays: the removal is made sure of at the next start.
      (error) => this.#logger.warn("queue.not_removed", { id, error: String(error) }),
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

  async #clearOrphan(id: string): Promise<void> {
    // A crash between the two renames of a damaged entry leaves its state behind.
    if (isFile(join(this.#directory, "damaged", id))) {
      this.#aside(statePath(this.#directory, id), "its message is damaged");
    } else if (!isFile(messagePath(this.#directory, id))) {
      await removeIfThere(this.#fileSystem, statePath(this.#directory, id));
    }
  }

  #scanOne(
    id: string,
    { hasState, unreadable }: { hasState: boolean; unreadable: string[] },
  ): QueueEntry | undefined {
    try {
      // Before it is read: what changes meanwhile makes the line of the index void, not wrong.
      const message = lstat(messagePath(this.#directory, id));
      const state = hasState ? lstat(statePath(this.#directory, id)) : undefined;
      const entry = this.#readGuarded(id, hasState);
      if (entry !== undefined && message !== undefined && this.#journal.get(id) === undefined) {
        const marks = { message: markOf(message), ...(state && { state: markOf(state) }) };
        this.#index.note(id, { digest: digestOf(entry), marks });
      }
      return entry;
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
      const now = this.#clock.now();
      for (
        const { recipient, dot } of applyJournal(entry, journal, { now, resendAfter: this.#resendAfter })
      ) {
        this.#tellUnanswered(id, { recipient, dot, now });
      }
    }
    return entry;
  }

  /** Logs the attempt that the earlier process had no time to log, since a second copy may follow. */
  #tellUnanswered(
    id: string,
    { recipient, dot, now }: { recipient: QueueRecipient; dot: DotSent; now: number },
  ): void {
    if (this.#told.has(dot)) return;
    this.#told.add(dot);
    const { host, address, status, error } = recipient.attempts.at(-1) ?? {};
    this.#logger.info("attempt.deferred", {
      ...{ id, recipient: recipient.address, host, address, status, error },
      dot_sent_no_reply: true,
      attempts: recipient.attemptCount,
      again_ms: Math.max(0, recipient.nextAttemptAt - now),
    });
  }

  /** Notes in the index an entry without a state. */
  #noteFresh(entry: QueueEntry): void {
    const message = lstat(messagePath(this.#directory, entry.id));
    if (message === undefined) return;
    this.#index.note(entry.id, { digest: digestOf(entry), marks: { message: markOf(message) } });
  }

  /** The index's line of an entry, if it is about the files that are there. */
  #lookUp(
    id: string,
    { lines, hasState }: { lines: ReadonlyMap<string, IndexLine>; hasState: boolean },
  ): IndexLine | undefined {
    const line = lines.get(id);
    // What the journal knows is not in the line.
    if (line === undefined || this.#journal.get(id) !== undefined || !this.#isAbout(line, id)) {
      return undefined;
    }
    const state = hasState ? lstat(statePath(this.#directory, id)) : undefined;
    return sameMark(state && markOf(state), line.marks.state) ? line : undefined;
  }

  /** Whether the line was made from the message that is there. */
  #isAbout({ marks }: IndexLine, id: string): boolean {
    const message = lstat(messagePath(this.#directory, id));
    return message !== undefined && sameMark(markOf(message), marks.message);
  }

  #finishRemoval(id: string): Promise<void> {
    const finished: Promise<void> = this.#change(id, () => this.#unlink(id)).catch((error) =>
      this.#logger.warn("queue.not_removed", { id, error: String(error) })
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
      const { entry, messageCheck } = head;
      const size = (whole ? bytes.length : file.statSync().size) - (lf + 1);
      // Without a check somebody has edited the message, and its size with it.
      if (messageCheck === undefined) return { head: { entry: { ...entry, size } }, length: lf + 1 };
      if (size < entry.size) throw new SpoolFormatError(`cut short: ${size} of ${entry.size} octets`);
      if (size > entry.size) throw new SpoolFormatError(`too long: ${size} instead of ${entry.size} octets`);
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
    return putAside(path, { directory: this.#directory, reason, logger: this.#logger });
  }
}

/** What a running scan knows. */
interface Scan {
  /** See {@linkcode Spool.#fresh}. */
  readonly fresh: Set<string>;
  /** See {@linkcode Spool.#touched}. */
  readonly touched: Set<string>;
  /** One string for each domain. */
  readonly domains: Map<string, string>;
  /** To be tried again at the end. */
  readonly unreadable: string[];
  readonly slice: Slice;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
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

/** Whether an entry can have a recipient in this domain, and this sender: no state changes either. */
function mayMean(
  { domains, sender }: IndexLine,
  hint: { readonly domain?: string; readonly sender?: string },
): boolean {
  if (hint.domain !== undefined && !domains.includes(hint.domain)) return false;
  return hint.sender === undefined || sender.toLowerCase() === hint.sender.toLowerCase();
}

/** The last `digits` digits of a number in base 36. */
function base36(value: number, digits: number): string {
  return value.toString(36).padStart(digits, "0").slice(-digits);
}
