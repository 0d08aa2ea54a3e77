/**
 * The messages of the queue in PostgreSQL: one being written, one being read. A body is stored in rows of bounded size.
 *
 * @module
 */
import { crc32 } from "node:zlib";
import { concat } from "../../base/concat.ts";
import { reply, SmtpError } from "../../smtp/reply.ts";
import type { StagedMessage } from "../../storage/staging.ts";
import { StorageError } from "../../storage/storage_error.ts";
import type { NewEntry, QueuedMessage, QueueDraft, QueueSummary } from "../queue.ts";
import { SpoolFormatError } from "../stored/format_values.ts";
import { formatCheck } from "../stored/seal.ts";
import { DatabaseError } from "./database.ts";

/** Octets of a row of a body; in a statement they take twice as much. */
export const PART = 512 * 1024;

/** What a {@linkcode PostgresDraft} needs. */
export interface PostgresDraftOptions {
  /** Takes the message as it arrives. */
  readonly staged: StagedMessage;
  /** Stores an entry and the parts of its body; `check` is the CRC-32 of all of it. */
  readonly store: (
    entry: NewEntry,
    body: { readonly check: string; readonly parts: () => AsyncIterable<Uint8Array> },
  ) => Promise<QueueSummary>;
}

/** A message being written. */
export class PostgresDraft implements QueueDraft {
  /** The queue id that the message will have. */
  readonly id: string;
  readonly #options: PostgresDraftOptions;

  /** Starts empty. */
  constructor(id: string, options: PostgresDraftOptions) {
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
    const { staged, store } = this.#options;
    const entry: NewEntry = { ...rest, id: this.id, size: prepend.length + staged.size };
    try {
      let check = crc32(prepend);
      for await (const chunk of staged.pieces ?? staged.chunks()) check = crc32(chunk, check);
      const parts = () => inParts(prepend, staged.pieces ?? staged.chunks());
      return await store(entry, { check: formatCheck(check), parts });
    } catch (error) {
      throw storageFailure(error);
    } finally {
      staged[Symbol.dispose]();
    }
  }

  /** Drops what was not committed. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#options.staged[Symbol.dispose]();
    return Promise.resolve();
  }
}

/** Joins and cuts chunks into parts of {@linkcode PART} octets; the last one may be shorter. */
async function* inParts(
  first: Uint8Array,
  rest: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, void> {
  let kept: Uint8Array[] = [first.slice()];
  let size = first.length;
  for await (const chunk of rest) {
    // The chunk may be overwritten when the next one is asked for.
    kept.push(chunk.slice());
    size += chunk.length;
    if (size < PART) continue;
    const all = concat(...kept);
    let at = 0;
    for (; at + PART <= all.length; at += PART) yield all.subarray(at, at + PART);
    kept = [all.slice(at)];
    size = all.length - at;
  }
  if (size > 0) yield concat(...kept);
}

/** What a {@linkcode PostgresMessage} needs. */
export interface PostgresMessageOptions {
  /** Octets of the message. */
  readonly size: number;
  /** Its CRC-32; `undefined` where there is none to compare with. */
  readonly check: string | undefined;
  /** Reads a part. */
  readonly part: (number: number) => Promise<Uint8Array | undefined>;
  /** Called when the message is not what it was. */
  readonly damaged: (reason: string) => void;
}

/** A stored message being read. */
export class PostgresMessage implements QueuedMessage {
  /** Octets in all. */
  readonly size: number;
  readonly #options: PostgresMessageOptions;

  /** Reads nothing yet. */
  constructor(options: PostgresMessageOptions) {
    this.size = options.size;
    this.#options = options;
  }

  /**
   * Yields the mail data; see {@linkcode QueuedMessage.chunks}.
   * @throws {SpoolFormatError} when the message is damaged, in the place of its last chunk
   */
  async *chunks(): AsyncGenerator<Uint8Array, void, void> {
    const { check, part, damaged } = this.#options;
    let left = this.size;
    let sum = 0;
    for (let number = 0; left > 0; number++) {
      const chunk = await part(number);
      if (chunk === undefined || chunk.length === 0 || chunk.length > left) break;
      left -= chunk.length;
      sum = crc32(chunk, sum);
      // Before the last bytes are given out, so that a damaged message is never sent to its end.
      if (left === 0 && check !== undefined && formatCheck(sum) !== check) left = -1;
      else yield chunk;
    }
    if (left === 0) return;
    const reason = left > 0
      ? "a part of the body is not there, or not whole"
      : "the message does not match its check";
    damaged(reason);
    throw new SpoolFormatError(reason);
  }

  /** Has nothing to close. */
  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

/** The reply for a failure to store (RFC 3463 §3.4). */
export function storageFailure(cause: unknown): SmtpError {
  if (cause instanceof SmtpError) return cause;
  const full = cause instanceof StorageError
    ? cause.fault === "no-space" || cause.fault === "over-quota"
    : cause instanceof DatabaseError && cause.isFull;
  return full
    ? new SmtpError(reply(452, "4.3.1", "Insufficient system storage; try again later"), { cause })
    : new SmtpError(reply(451, "4.3.0", "Local error in processing; try again later"), { cause });
}
