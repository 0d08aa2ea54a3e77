/**
 * The messages of the spool: one being written, one being read.
 *
 * @module
 */
import { crc32 } from "node:zlib";
import { type Reply, reply, SmtpError } from "../../smtp/reply.ts";
import { concat } from "../../base/concat.ts";
import type { FileSystem } from "../../storage/file_system.ts";
import { NewFile } from "../../storage/new_file.ts";
import type { StagedMessage } from "../../storage/staging.ts";
import { StorageError } from "../../storage/storage_error.ts";
import type { NewEntry, QueuedMessage, QueueDraft, QueueSummary } from "../queue.ts";
import { encodeHead, MAX_HEAD } from "../stored/format.ts";
import { formatCheck } from "../stored/seal.ts";
import { SpoolFormatError } from "../stored/format_values.ts";
import { summarize } from "../stored/entry.ts";

const CHUNK = 64 * 1024;

/** Octets of a message that is kept in memory for its first attempt, at most. */
export const MAX_FRESH = 256 * 1024;

/** The reply while there is no room on the disk. */
export const DISK_FULL: Reply = reply(452, "4.3.1", "Insufficient system storage; try again later");

const encoder = new TextEncoder();

/** What a {@linkcode Draft} needs. */
export interface DraftOptions {
  /** Where the file is written before it has its place. */
  readonly temporary: string;
  /** The file system. */
  readonly fileSystem: FileSystem;
  /** Takes the message as it arrives. */
  readonly staged: StagedMessage;
  /** A file that is there to be written into; `undefined` when there is none. */
  readonly spareFile: () => Promise<NewFile | undefined>;
  /** Tells how old an entry is. */
  readonly ageOf: (entry: NewEntry) => number;
  /** Gives the finished file its place; `message` where all of it is in memory. */
  readonly enter: (file: NewFile, entry: NewEntry, message: Uint8Array | undefined) => Promise<void>;
}

/** A message being written. */
export class Draft implements QueueDraft {
  /** The queue id that the message will have. */
  readonly id: string;
  readonly #options: DraftOptions;

  constructor(id: string, options: DraftOptions) {
    this.id = id;
    this.#options = options;
  }

  /** Octets so far. */
  get size(): number {
    return this.#options.staged.size;
  }

  write(chunk: Uint8Array): Promise<void> | void {
    return this.#options.staged.write(chunk)?.catch((error) => {
      throw storageFailure(error);
    });
  }

  chunks(): AsyncIterable<Uint8Array> {
    return this.#options.staged.chunks();
  }

  async commit(rest: Omit<NewEntry, "id" | "size">, prepend: Uint8Array): Promise<QueueSummary> {
    const { staged, temporary, fileSystem, spareFile, enter, ageOf } = this.#options;
    const entry: NewEntry = { ...rest, id: this.id, size: prepend.length + staged.size };
    let file: NewFile | undefined;
    try {
      // Read twice where it is large: the head is before the message and tells its check.
      let check = crc32(prepend);
      const { pieces } = staged;
      for await (const chunk of pieces ?? staged.chunks()) check = crc32(chunk, check);
      const head = encoder.encode(encodeHead(entry, formatCheck(check)));
      if (head.length > MAX_HEAD) throw new SmtpError(TOO_MANY);
      file = (pieces && await spareFile()) ??
        await NewFile.createAnew(temporary, { mode: 0o600, fileSystem });
      const first = concat(head, prepend, ...pieces ?? []);
      await file.write(first);
      if (pieces === undefined) { for await (const chunk of staged.chunks()) await file.write(chunk); }
      await file.finish();
      await enter(file, entry, pieces && first.subarray(head.length));
    } catch (error) {
      await file?.discard();
      throw storageFailure(error);
    } finally {
      staged[Symbol.dispose]();
    }
    const age = ageOf(entry);
    return summarize(entry, { age }) ?? { id: entry.id, age, due: [] };
  }

  /** Drops what was not committed. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#options.staged[Symbol.dispose]();
    return Promise.resolve();
  }
}

/** What a {@linkcode StoredMessage} needs. */
export interface StoredMessageOptions {
  /** Where the message begins in the file. */
  readonly start: number;
  /** Octets of the message. */
  readonly size: number;
  /** Its CRC-32; `undefined` where there is none to compare with. */
  readonly check: string | undefined;
  /** Called when the message is not what it was. */
  readonly damaged: (reason: string) => void;
}

/** A stored message being read. */
export class StoredMessage implements QueuedMessage {
  /** Octets in all. */
  readonly size: number;
  readonly #file: Deno.FsFile;
  readonly #options: StoredMessageOptions;
  #open = true;

  /** Takes over the open file. */
  constructor(file: Deno.FsFile, options: StoredMessageOptions) {
    this.#file = file;
    this.size = options.size;
    this.#options = options;
  }

  /**
   * Yields the mail data; see {@linkcode QueuedMessage.chunks}.
   * @throws {SpoolFormatError} when the message is damaged, in the place of its last chunk
   */
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

  /** Closes the file. */
  [Symbol.asyncDispose](): Promise<void> {
    if (this.#open) {
      this.#open = false;
      this.#file.close();
    }
    return Promise.resolve();
  }
}

// Who accepts a message for the queue makes sure before that it is not needed.
const TOO_MANY = reply(452, "4.5.3", "Too many recipients for one message");

/** The reply for a failure to store (RFC 3463 §3.4). */
function storageFailure(cause: unknown): SmtpError {
  if (cause instanceof SmtpError) return cause;
  const full = cause instanceof StorageError && (cause.fault === "no-space" || cause.fault === "over-quota");
  return full
    ? new SmtpError(DISK_FULL, { cause })
    : new SmtpError(reply(451, "4.3.0", "Local error in processing; try again later"), { cause });
}
