/**
 * The queue on disk. A message is one immutable file; what happened to its recipients is another, small one, rewritten
 * after each attempt; what must be durable at once goes through the journal. docs/queue.md lists every legal
 * state of the directory and what a crash in each leaves.
 *
 * Longer than other files: the order in which message, state, journal and directory are written is one promise, and
 * stands here in one place.
 *
 * @module
 */
import { join } from "node:path";
import { errorText } from "../../base/error_text.ts";
import type { Logger } from "../../base/log.ts";
import { type Clock, systemClock } from "../../base/clock.ts";
import { SmtpError } from "../../smtp/reply.ts";
import { DirectorySyncer } from "../../storage/directory_syncer.ts";
import { denoFileSystem, type FileSystem } from "../../storage/file_system.ts";
import { NewFile } from "../../storage/new_file.ts";
import { StagingArea } from "../../storage/staging.ts";
import { storageCall, StorageError } from "../../storage/storage_error.ts";
import { FreshMessages } from "../stored/fresh_messages.ts";
import { Journal } from "./journal.ts";
import type { NewEntry, Queue, QueuedMessage, QueueDraft, QueueSummary } from "../queue.ts";
import { isFinal, type QueueEntry } from "../queue_entry.ts";
import { QueueIds } from "../stored/queue_ids.ts";
import { SpareFiles } from "./spare_files.ts";
import {
  checkFormat,
  clear,
  freeName,
  isFile,
  lstat,
  makeDirectories,
  messagePath,
  removeIfThere,
  shardOf,
  type SpoolLock,
  statePath,
  takeLock,
} from "./directory.ts";
import { isEverything, matches, type QueueFilter } from "../queue_filter.ts";
import { coverage, summarize } from "../stored/entry.ts";
import { encodeState, isQueueId } from "../stored/format.ts";
import { digestOf, isWrittenAbout, markOf, mayMean, SpoolIndex } from "./index.ts";
import {
  type Entered,
  type FinishedMessage,
  idSource,
  intakePath,
  intakePrefix,
  type IntakeShare,
  probeDirectory,
} from "./intake_queue.ts";
import { SpoolListing } from "./listing.ts";
import { DISK_FULL, Draft, MAX_FRESH, StoredMessage } from "./message.ts";
import { SpoolReader } from "./reader.ts";
import { SpoolScan } from "./scan.ts";
import { Reserve, withRoom } from "./reserve.ts";
import { SpoolTime, systemUptime } from "./spool_time.ts";
import { SerialByKey } from "../../base/serial.ts";
import { TimeSlice } from "../../base/time_slice.ts";

/** How to open a spool. */
export interface SpoolOptions {
  /** The directory; created when it is not there. */
  readonly directory: string;
  /** Where damage and failures are logged. */
  readonly logger: Logger;
  /** Tells the time for ids; default: the system's. */
  readonly clock?: Clock;
  /** Fills a buffer with random bytes; default: the system's source. */
  readonly random?: (buffer: Uint8Array<ArrayBuffer>) => void;
  /** The file system; default: the real one. */
  readonly fileSystem?: FileSystem;
  /**
   * Milliseconds from a final dot that a crash left without an answer to the next attempt: the remote may still be at
   * work on it. Default 60,000. Asked each time, so that it may change.
   */
  readonly resendAfter?: () => number;
  /** Milliseconds that the machine has been up, `undefined` if unknown; default: asks the system. */
  readonly uptime?: () => number | undefined;
  /** What names this boot of this machine, so that an uptime of another is known as such; absent: not known. */
  readonly boot?: string | undefined;
  /** Octets of a message that are kept in memory until commit, a multiple of 16 KiB, and not 0; default 256 KiB. */
  readonly maxInMemory?: number;
  /** How many other threads take messages, each by an `IntakeQueue`; default: none. */
  readonly intakeThreads?: number;
}

// Octets of all messages that are kept in memory for their first attempts.
const MAX_FRESH_TOTAL = 16 * 1024 ** 2;

const encoder = new TextEncoder();

/** An open spool; one process at a time has it. */
export class Spool implements Queue, AsyncDisposable {
  readonly #directory: string;
  readonly #logger: Logger;
  readonly #ids: QueueIds;
  readonly #time: SpoolTime;
  readonly #fileSystem: FileSystem;
  readonly #syncer: DirectorySyncer;
  readonly #staging: StagingArea;
  readonly #intake: Pick<IntakeShare, "threads" | "full">;
  #lock: SpoolLock | undefined;
  readonly #journal: Journal;
  readonly #index: SpoolIndex;
  readonly #listing: SpoolListing;
  readonly #reader: SpoolReader;
  readonly #spares: SpareFiles;
  readonly #reserve: Reserve;
  readonly #shards = new Map<string, Promise<void>>();
  /** Changes of one entry's files, one after the other. */
  readonly #changes = new SerialByKey();
  readonly #background = new Set<Promise<void>>();
  /** The running ones, which are told what changes. */
  readonly #scans = new Set<SpoolScan>();
  /** The latest one, if it could not read everything. */
  #partial: SpoolScan | undefined;
  // Most leave at their first attempt, and need no line in the index.
  readonly #freshMessages = new FreshMessages(MAX_FRESH_TOTAL, (entry) => this.#noteFresh(entry));
  /** Whether a scan of this process has held every line of the index against its message. */
  #indexed = false;

  private constructor(
    options: SpoolOptions,
    parts: {
      lock: SpoolLock;
      journal: Journal;
      syncer: DirectorySyncer;
      time: SpoolTime;
      reserve: Reserve;
      spares: SpareFiles;
      intake: Pick<IntakeShare, "threads" | "full">;
    },
  ) {
    const { fileSystem = denoFileSystem, clock = systemClock } = options;
    this.#directory = options.directory;
    this.#logger = options.logger;
    this.#fileSystem = fileSystem;
    this.#syncer = parts.syncer;
    this.#staging = new StagingArea({
      directory: join(options.directory, "incoming"),
      fileSystem,
      ...(options.maxInMemory !== undefined && { messageLimit: options.maxInMemory }),
    });
    this.#lock = parts.lock;
    this.#intake = parts.intake;
    this.#time = parts.time;
    this.#journal = parts.journal;
    this.#index = new SpoolIndex({
      directory: join(options.directory, "index"),
      logger: options.logger,
      exists: (id) => isFile(messagePath(options.directory, id)),
    });
    this.#spares = parts.spares;
    this.#reserve = parts.reserve;
    this.#ids = new QueueIds({
      now: () => this.#time.now(),
      random: options.random ?? ((buffer) => void crypto.getRandomValues(buffer)),
      ...idSource(parts.intake),
    });
    this.#listing = new SpoolListing(options);
    this.#reader = new SpoolReader({
      directory: options.directory,
      logger: options.logger,
      clock,
      journal: parts.journal,
      resendAfter: options.resendAfter ?? (() => 60_000),
      removed: (id) => this.#finishRemoval(id),
    });
  }

  /**
   * Opens a spool, creating it where there is none, and clears away what a crash left half written.
   * @throws {SpoolLockedError} when another process has it
   * @throws {SpoolVersionError} when a newer version wrote it
   * @throws {SpoolPathError} when a file or directory of it is something else
   */
  static async open(options: SpoolOptions): Promise<Spool> {
    const { directory, logger, fileSystem = denoFileSystem, clock = systemClock } = options;
    const syncer = new DirectorySyncer({ fileSystem });
    await makeDirectories(directory);
    const lock = await takeLock(directory);
    try {
      await checkFormat(directory, { fileSystem, syncer });
      for (const name of ["incoming", "spare"] as const) await clear(name, { directory, fileSystem, logger });
      const spares = new SpareFiles({ directory: join(directory, "spare"), fileSystem, clock });
      const { intakeThreads: threads = 0 } = options;
      const full = new Int32Array(threads === 0 ? new ArrayBuffer(4) : new SharedArrayBuffer(4));
      const reserve = await Reserve.open({
        directory: join(directory, "reserve"),
        clock,
        logger,
        changed: (whole) => void Atomics.store(full, 0, whole ? 0 : 1),
      });
      const path = join(directory, "journal");
      const journal = await Journal.open({
        path,
        temporary: join(directory, "incoming", "journal"),
        fileSystem,
        syncer,
        logger,
        exists: (id) => isFile(messagePath(directory, id)),
        makeDurable: async (ids) => {
          const shards = [...new Set(ids.map(shardOf))].map((shard) => join(directory, "messages", shard));
          for (const path of shards) if (lstat(path) !== undefined) await syncer.sync(path);
        },
        makeRoom: async () => await spares.give() || await reserve.give(),
        keepDamaged: (reason) => {
          const kept = freeName(directory, "journal");
          // A second name: the next journal is another file. It needs no room.
          Deno.linkSync(path, kept);
          logger.error("queue.damaged", { file: path, reason, kept });
        },
      });
      const time = await SpoolTime.open({
        path: join(directory, "time"),
        temporary: join(directory, "incoming", crypto.randomUUID()),
        clock,
        uptime: options.uptime ?? systemUptime,
        boot: options.boot,
        fileSystem,
        syncer,
        logger,
      });
      return new Spool(options, { lock, journal, syncer, time, reserve, spares, intake: { threads, full } });
    } catch (error) {
      lock.close();
      throw error;
    }
  }

  /** The spool's directory. */
  get directory(): string {
    return this.#directory;
  }

  newId(): string {
    return this.#ids.next();
  }

  ageOf({ id, acceptedAt }: Pick<QueueEntry, "id" | "acceptedAt">): number {
    return this.#time.ageOf(id, acceptedAt);
  }

  /**
   * Stores a whole message; see {@linkcode Queue.add}.
   * @throws {SmtpError} 452 4.3.1 or 451 4.3.0; nothing is left then
   */
  async add(entry: NewEntry, message: Uint8Array): Promise<void> {
    await this.withRoom(async () => {
      await using draft = this.#begin(entry.id);
      await draft.write(message);
      await draft.commit(entry, new Uint8Array());
    });
  }

  /**
   * Begins a message whose data follows; see {@linkcode Queue.begin}.
   * @throws {SmtpError} 452 4.3.1 while the disk is so full that only what makes room is written
   */
  begin(id: string): QueueDraft {
    if (!this.#reserve.whole) throw new SmtpError(DISK_FULL);
    return this.#begin(id);
  }

  #begin(id: string): QueueDraft {
    if (!isQueueId(id)) throw new TypeError(`not a queue id: ${id}`);
    return new Draft(id, {
      temporary: join(this.#directory, "incoming", id),
      fileSystem: this.#fileSystem,
      staged: this.#staging.stage(),
      spareFile: () => this.#spares.take(),
      enter: (file, entry, message) => this.#enter(file, entry, message),
      ageOf: (entry) => this.ageOf(entry),
    });
  }

  /**
   * Tries whether anything can be stored.
   * @throws {StorageError} why not
   */
  async probe(): Promise<void> {
    await probeDirectory(this.#directory, this.#fileSystem);
  }

  /** What threads that take messages are started with. */
  intakeShare(): IntakeShare {
    const { firstShard } = this.#ids;
    return { ...this.#intake, directory: this.#directory, firstShard, time: this.#time.now() };
  }

  /**
   * Gives a message its place that another thread has written; see {@linkcode Spool.add}.
   * @param thread the number of that thread
   * @returns what to tell it; and the summary for the scheduler, if it is durable
   */
  async enterFrom(
    thread: number,
    { entry, message }: FinishedMessage,
  ): Promise<{ readonly entered: Entered; readonly summary?: QueueSummary }> {
    const { id } = entry;
    if (!isQueueId(id)) throw new TypeError("not a queue id");
    const path = intakePath(this.#directory, { thread, id });
    const file = NewFile.adopt(path, { fileSystem: this.#fileSystem });
    try {
      await this.#enter(file, entry, message);
    } catch (error) {
      await file.discard();
      const fault = error instanceof StorageError ? error.fault : "other";
      return { entered: { stored: false, fault, error: errorText(error) } };
    }
    const age = this.ageOf(entry);
    return { entered: { stored: true }, summary: summarize(entry, { age }) ?? { id, age, due: [] } };
  }

  /** Removes what a thread that has died was writing. */
  forgetIntake(thread: number): void {
    const directory = join(this.#directory, "incoming");
    try {
      for (const { name } of Deno.readDirSync(directory)) {
        if (name.startsWith(intakePrefix(thread))) Deno.removeSync(join(directory, name));
      }
    } catch {
      // The next start does, if this does not.
    }
  }

  /**
   * See {@linkcode Queue.scan}. Yields from the start on; entries added meanwhile are not among them.
   * @throws {AggregateError} at the end, where a folder or a message could not be read
   */
  async *scan(): AsyncGenerator<QueueSummary, void, void> {
    const scan = new SpoolScan({
      directory: this.#directory,
      logger: this.#logger,
      fileSystem: this.#fileSystem,
      journal: this.#journal,
      index: this.#index,
      listing: this.#listing,
      reader: this.#reader,
      queue: this,
    });
    this.#indexed = false;
    yield* this.#run(scan);
  }

  /** See {@linkcode Queue.scanRest}. */
  async *scanRest(): AsyncGenerator<QueueSummary, void, void> {
    const scan = this.#partial;
    if (scan !== undefined) yield* this.#run(scan);
  }

  async *#run(scan: SpoolScan): AsyncGenerator<QueueSummary, void, void> {
    if (this.#partial !== undefined) this.#scans.delete(this.#partial);
    this.#partial = undefined;
    this.#scans.add(scan);
    try {
      yield* scan.run();
      this.#indexed = !scan.doubtful;
    } finally {
      if (scan.isPartial) this.#partial = scan;
      else this.#scans.delete(scan);
    }
  }

  async *ids(filter: QueueFilter = {}): AsyncGenerator<string, void, void> {
    const all = isEverything(filter);
    const isMeant = mayMean(filter);
    const slice = new TimeSlice();
    for (const shard of this.#listing.shards()) {
      const texts = all ? undefined : this.#index.readTexts(shard);
      if (slice.isOver({ surely: true })) await slice.pause();
      for (const id of this.#listing.messages(shard)) {
        if (slice.isOver()) await slice.pause();
        if (this.#journal.get(id)?.removed) continue;
        const fresh = all ? undefined : this.#freshMessages.entryOf(id);
        if (fresh !== undefined && !matches(fresh, filter)) continue;
        const text = texts?.get(id);
        // A message is not edited while the server has it.
        if (
          text !== undefined && !isMeant(text) &&
          (this.#indexed || isWrittenAbout(text, this.#messageInfo(id)))
        ) continue;
        yield id;
      }
    }
  }

  // deno-lint-ignore require-await
  async load(id: string): Promise<QueueEntry | undefined> {
    if (!isQueueId(id)) return undefined;
    const fresh = this.#journal.get(id) === undefined ? this.#freshMessages.takeEntry(id) : undefined;
    if (fresh !== undefined) return fresh;
    return this.#reader.read(id);
  }

  /** See {@linkcode Queue.update}. An entry that is gone stays gone. */
  update(entry: QueueEntry): Promise<void> {
    const { id } = entry;
    // What is in the entry now, whatever happens to it while the disk is at work.
    const text = encodeState(entry);
    const covered = entry.recipients.map(coverage);
    const digest = digestOf(entry);
    const makesRoom = entry.recipients.some(isFinal);
    return this.#changes.run(id, async () => {
      this.#freshMessages.delete(id);
      const message = this.#messageInfo(id);
      if (!message?.isFile) return;
      for (const scan of this.#scans) scan.noteUpdated(id);
      // That a message waits makes no room; to know it in memory will do.
      const makeRoom = makesRoom ? () => this.#makeRoom() : () => this.#spares.give();
      await withRoom(() => this.#writeState(id, text), makeRoom);
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

  remove(id: string): Promise<void> {
    if (!isQueueId(id)) return Promise.resolve();
    return this.#changes.run(id, async () => {
      if (!this.#freshMessages.has(id) && !isFile(messagePath(this.#directory, id))) return;
      // From here on a crash finishes the removal instead of undoing half of it, so that the directory may be synced
      // later, together with other removals.
      await this.#journal.append({ type: "removed", id });
      const fresh = this.#freshMessages.has(id);
      this.#freshMessages.delete(id);
      await this.#unlink(id, { fresh });
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
    const read = path === undefined ? undefined : this.#reader.readHead(id);
    if (path === undefined || read === undefined) {
      throw new Deno.errors.NotFound(`no message ${id} in the queue`);
    }
    const file = await Deno.open(path);
    return new StoredMessage(file, {
      start: read.length,
      size: read.head.entry.size,
      check: read.head.messageCheck,
      damaged: (reason) => this.#reader.putAside(id, reason),
    });
  }

  dotSent(
    id: string,
    attempt: { recipients: readonly number[]; host: string; address: string; at: number },
  ): Promise<void> {
    const { recipients, host, address, at } = attempt;
    return this.#journal.append({ type: "dotSent", id, recipients, host, address, at });
  }

  dotAnswered(id: string, outcome: { recipients: readonly number[]; relayed: boolean }): Promise<void> {
    const { recipients, relayed } = outcome;
    return this.#journal.append({ type: "dotAnswered", id, recipients, relayed });
  }

  /** Finishes what is being written and lets another process have the spool. Safe to call twice. */
  async close(): Promise<void> {
    await this.#changes.idle();
    while (this.#background.size > 0) await Promise.all(this.#background);
    this.#freshMessages.clear();
    await this.#spares.close();
    await this.#reserve.close();
    await this.#journal.close();
    await this.#index.close();
    await this.#time.close();
    this.#lock?.close();
    this.#lock = undefined;
  }

  /** The same as {@linkcode Spool.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /**
   * Gives a finished file its place: the commit point. The entry can be seen from then on, and whoever changes it waits
   * until it is whole.
   */
  async #enter(file: NewFile, entry: NewEntry, message: Uint8Array | undefined): Promise<void> {
    const { id } = entry;
    const shard = shardOf(id);
    await this.#makeShard(shard);
    for (const scan of this.#scans) scan.noteAdded(id);
    const path = messagePath(this.#directory, id);
    await this.#changes.run(id, async () => {
      await file.publish(path);
      try {
        await this.#syncer.sync(join(this.#directory, "messages", shard));
      } catch (error) {
        // It was not reported as accepted; with the file gone it is not.
        await this.#fileSystem.remove(path).catch(() => {});
        throw error;
      }
      if (message !== undefined && message.length <= MAX_FRESH) this.#freshMessages.add(entry, message);
      else this.#noteFresh(entry);
    });
  }

  async #writeState(id: string, text: string): Promise<void> {
    const shard = shardOf(id);
    await this.#makeShard(shard);
    const temporary = join(this.#directory, "incoming", `${id}.json`);
    const file = await NewFile.createAnew(temporary, { mode: 0o600, fileSystem: this.#fileSystem });
    await file.write(encoder.encode(text));
    await file.finish();
    await file.publish(statePath(this.#directory, id));
    await this.#syncer.sync(join(this.#directory, "states", shard));
  }

  /**
   * Does what makes room in the end, or tells how: on a full disk the reserve is given up for it.
   * @throws what `work` throws where there is no room even so
   */
  withRoom<T>(work: () => Promise<T>): Promise<T> {
    return withRoom(work, () => this.#makeRoom());
  }

  async #makeRoom(): Promise<boolean> {
    return await this.#spares.give() || await this.#reserve.give();
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
      await storageCall("create directory", path, () => Deno.mkdir(path, { recursive: true, mode: 0o700 }));
      // Also where it is there: the process that made it may have died before this.
      await this.#syncer.sync(parent);
    }
  }

  /** @param options `fresh`: it has no state, and is not read from the disk */
  async #unlink(id: string, { fresh = false } = {}): Promise<void> {
    const path = messagePath(this.#directory, id);
    const spare = fresh ? await this.#spares.retire(path, id) : undefined;
    if (spare === undefined) await removeIfThere(this.#fileSystem, path);
    if (!fresh) await removeIfThere(this.#fileSystem, statePath(this.#directory, id));
    const synced = this.#syncer.sync(join(this.#directory, "messages", shardOf(id))).then(
      () => {
        this.#journal.forget(id);
        // Before, a crash could have brought the message back by its old name, with what is written into it now.
        if (spare !== undefined) this.#spares.release(spare);
      },
      async (error) => {
        // The record stays: the removal is made sure of at the next start.
        this.#logger.warn("queue.not_removed", { id, error: String(error) });
        if (spare !== undefined) await this.#spares.drop(spare);
      },
    ).then(() => void this.#background.delete(synced));
    this.#background.add(synced);
  }

  /** Removes what the journal knows to be removed. */
  #finishRemoval(id: string): void {
    const finished: Promise<void> = this.#changes.run(id, () => this.#unlink(id)).catch((error) =>
      this.#logger.warn("queue.not_removed", { id, error: String(error) })
    ).then(() => void this.#background.delete(finished));
    this.#background.add(finished);
  }

  /** Notes in the index an entry without a state. */
  #noteFresh(entry: QueueEntry): void {
    const message = this.#messageInfo(entry.id);
    if (message === undefined) return;
    this.#index.note(entry.id, { digest: digestOf(entry), marks: { message: markOf(message) } });
  }

  #messageInfo(id: string): Deno.FileInfo | undefined {
    return lstat(messagePath(this.#directory, id));
  }
}
