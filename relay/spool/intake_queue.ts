/**
 * The part of the spool that takes messages in another thread: it draws ids and writes message files. The thread that
 * has the spool open gives a finished file its place, so that there is one commit point, and the journal, the index and
 * the scheduler know of every message.
 *
 * @module
 */
import { join } from "node:path";
import { denoFileSystem, type FileSystem } from "../../storage/file_system.ts";
import { NewFile } from "../../storage/new_file.ts";
import { StagingArea } from "../../storage/staging.ts";
import { storageCallSync, StorageError, type StorageFault } from "../../storage/storage_error.ts";
import { SmtpError } from "../../smtp/reply.ts";
import type { NewEntry, Queue, QueueDraft } from "../queue.ts";
import { isQueueId } from "../stored/format.ts";
import { QueueIds } from "../stored/queue_ids.ts";
import { lstat } from "./directory.ts";
import { DISK_FULL, Draft, MAX_FRESH } from "./message.ts";

/** What the threads that take messages share with the spool; plain data, to be sent to each of them. */
export interface IntakeShare {
  /** The directory of the spool. */
  readonly directory: string;
  /** How many threads take messages. */
  readonly threads: number;
  /** The directory that ids begin with. */
  readonly firstShard: number;
  /** The time of the spool at this moment, in milliseconds. */
  readonly time: number;
  /** Not 0 while the reserve of the spool is not whole: no message is accepted then. */
  readonly full: Int32Array<ArrayBufferLike>;
}

/** A message whose file is finished, for the thread that has the spool open. */
export interface FinishedMessage {
  /** Its envelope. */
  readonly entry: NewEntry;
  /** All of it if it is small, to be sent without being read again. */
  readonly message?: Uint8Array | undefined;
}

/** What became of a {@linkcode FinishedMessage}: durable in its place, or gone. */
export type Entered =
  | { readonly stored: true }
  | { readonly stored: false; readonly fault: StorageFault; readonly error: string };

/** What an {@linkcode IntakeQueue} needs. */
export interface IntakeQueueOptions {
  /** What the spool shares. */
  readonly share: IntakeShare;
  /** The number of this thread, from 0. */
  readonly thread: number;
  /** Asks the thread that has the spool open to give a file its place. */
  readonly enter: (finished: FinishedMessage) => Promise<Entered>;
  /** Milliseconds since some fixed moment; default: those of this thread. */
  readonly monotonic?: () => number;
  /** Fills a buffer with random bytes; default: the system's source. */
  readonly random?: (buffer: Uint8Array<ArrayBuffer>) => void;
  /** The file system; default: the real one. */
  readonly fileSystem?: FileSystem;
}

/** Where a thread writes the message of this id; no queue id begins as such a name does. */
export function intakePath(directory: string, { thread, id }: { thread: number; id: string }): string {
  return join(directory, "incoming", `${intakePrefix(thread)}${id}`);
}

/** How the names of all files begin that a thread writes. */
export function intakePrefix(thread: number): string {
  return `${thread.toString(36).padStart(2, "0")}x`;
}

/** Takes messages for a spool that another thread has open. */
export class IntakeQueue implements Pick<Queue, "newId" | "begin"> {
  /** The directory of the spool. */
  readonly directory: string;
  readonly #options: IntakeQueueOptions;
  readonly #fileSystem: FileSystem;
  readonly #staging: StagingArea;
  readonly #ids: QueueIds;

  /** Does not touch the disk. */
  constructor(options: IntakeQueueOptions) {
    const { share: { directory, threads, time, firstShard }, thread, fileSystem = denoFileSystem } = options;
    const { monotonic = () => performance.now() } = options;
    const start = time - monotonic();
    this.directory = directory;
    this.#options = options;
    this.#fileSystem = fileSystem;
    this.#staging = new StagingArea({
      directory: join(directory, "incoming"),
      totalLimit: Math.ceil(STAGING_MEMORY / threads),
      fileSystem,
    });
    this.#ids = new QueueIds({
      now: () => Math.floor(start + monotonic()),
      random: options.random ?? ((buffer) => void crypto.getRandomValues(buffer)),
      firstShard,
      ...idSource({ threads, thread }),
    });
  }

  newId(): string {
    return this.#ids.next();
  }

  /**
   * Begins a message whose data follows.
   * @throws {SmtpError} 452 4.3.1 while the disk is so full that only what makes room is written
   */
  begin(id: string): QueueDraft {
    if (!isQueueId(id)) throw new TypeError(`not a queue id: ${id}`);
    const { share: { directory, full }, thread } = this.#options;
    if (Atomics.load(full, 0) !== 0) throw new SmtpError(DISK_FULL);
    return new Draft(id, {
      temporary: intakePath(directory, { thread, id }),
      fileSystem: this.#fileSystem,
      staged: this.#staging.stage(),
      spareFile: () => Promise.resolve(undefined),
      enter: (file, entry, message) => this.#enter(file, entry, message),
      // It begins here.
      ageOf: () => 0,
    });
  }

  /** See {@linkcode probeDirectory}. */
  async probe(): Promise<void> {
    await probeDirectory(this.directory, this.#fileSystem);
  }

  async #enter(file: NewFile, entry: NewEntry, message: Uint8Array | undefined): Promise<void> {
    file.handOver();
    const small = message !== undefined && message.length <= MAX_FRESH;
    const entered = await this.#options.enter({ entry, ...(small && { message }) });
    if (entered.stored) return;
    const { error, fault } = entered;
    throw new StorageError("store", { path: file.path, cause: new Error(error), fault });
  }
}

/** Octets of memory for messages of all threads beyond 16 KiB each. */
const STAGING_MEMORY = 64 * 1024 ** 2;

/**
 * Which ids of a process are drawn by which thread.
 * @param options `threads`: how many take messages; `thread`: the number of this one; absent: it has the spool open
 */
export function idSource(
  { threads, thread = threads }: { readonly threads: number; readonly thread?: number },
): { readonly sources: number; readonly source: number } {
  return { sources: threads + 1, source: thread };
}

/**
 * Tries whether anything can be stored in a spool.
 * @throws {StorageError} why not
 */
export async function probeDirectory(directory: string, fileSystem: FileSystem): Promise<void> {
  const messages = join(directory, "messages");
  storageCallSync("read", messages, () => {
    const [first] = Deno.readDirSync(messages);
    if (first !== undefined) lstat(join(messages, first.name));
  });
  const temporary = join(directory, "incoming", crypto.randomUUID());
  const file = await NewFile.createAnew(temporary, { mode: 0o600, fileSystem });
  try {
    await file.write(new Uint8Array(1));
  } finally {
    await file.discard();
  }
}
