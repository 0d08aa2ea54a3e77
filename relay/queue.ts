/**
 * The queue as seen by code that accepts, sends and manages mail, independent of its storage: `relay/spool/` is
 * the implementation.
 *
 * A queue has one owner, the process that has it open: no other changes its entries, so that an entry may be kept in
 * memory while it is worked on, and {@linkcode Queue.update} replaces all that was stored of it. A queue with several
 * owners needs more than this promises, and would get it here: a claim with a lease where `open_entries.ts` takes an
 * entry and gives it back, a version with each change that goes through it, and news of what others added beside
 * {@linkcode Queue.scan}.
 *
 * @module
 */
import type { QueueEntry } from "./queue_entry.ts";
import type { QueueFilter } from "./queue_filter.ts";

/** The scheduler's summary of an entry; small, since there may be a million. */
export interface QueueSummary {
  /** The queue id. */
  readonly id: string;
  /** How old it is, as {@linkcode Queue.ageOf} tells. */
  readonly age: number;
  /** Domains with a pending recipient that is due at that time (milliseconds since the epoch, 0 = at once). */
  readonly due: readonly { readonly domain: string; readonly at: number }[];
  /**
   * Whether something is left to finish apart from sending: a recipient is final but not `settled`, or has a `notice`
   * that may or may not have been queued. Absent = false.
   */
  readonly unfinished?: boolean;
  /** Whether it is held since it has no sender to notify of its failure. Absent = false. */
  readonly undeliverable?: boolean;
}

/** A new message for the queue. */
export interface NewEntry extends Omit<QueueEntry, "id"> {
  /** The id, drawn by {@linkcode Queue.newId}. */
  readonly id: string;
}

/** A message on its way into the queue. Disposed without commit, it leaves nothing behind. */
export interface QueueDraft extends AsyncDisposable {
  /** The queue id that the message will have. */
  readonly id: string;
  /** Octets so far. */
  readonly size: number;
  /**
   * Adds to the message. The chunk may be used again when the promise settles, or the call returns nothing.
   * @throws {SmtpError} 452 4.3.1 or 451 4.3.0
   */
  write(chunk: Uint8Array): Promise<void> | void;
  /** The message so far, from its beginning; may be read again, and not be written any more. */
  chunks(): AsyncIterable<Uint8Array>;
  /**
   * Makes it durable, with these bytes (whole header fields) on top, and hands it to the queue.
   * @throws {SmtpError} 452 4.3.1 or 451 4.3.0; nothing is left then
   */
  commit(entry: Omit<NewEntry, "id" | "size">, prepend: Uint8Array): Promise<QueueSummary>;
}

/** Holds accepted messages until each recipient is settled. All promises resolve only when the change is durable. */
export interface Queue {
  /** A fresh id, never used before by this queue. */
  newId(): string;
  /**
   * Milliseconds since an entry was accepted, as far as they were measured: no change of the
   * clock makes it older or younger.
   */
  ageOf(entry: Pick<QueueEntry, "id" | "acceptedAt">): number;
  /**
   * Begins to take a message that arrives in pieces, under an id of {@linkcode Queue.newId}. Several drafts may have
   * one id, as long as one of them is committed at most.
   */
  begin(id: string): QueueDraft;
  /** Stores an entry with its whole message (CRLF lines), e.g. a DSN. */
  add(entry: NewEntry, message: Uint8Array): Promise<void>;
  /**
   * All entries that the scheduler must see, once: those with a pending recipient, and those
   * {@linkcode QueueSummary.unfinished}, whose recipients may all be final (a crash before the notice or the removal),
   * or {@linkcode QueueSummary.undeliverable}.
   * Damaged ones are put aside and logged on the way.
   */
  scan(): AsyncIterable<QueueSummary>;
  /**
   * The ids of all entries, held ones too, in no order; for `queue list`. May miss or name what changes meanwhile. What
   * is known at once not to be meant by the filter may be left out.
   */
  ids(filter?: QueueFilter): AsyncIterable<string>;
  /** An entry in its current state; `undefined` when it is gone. */
  load(id: string): Promise<QueueEntry | undefined>;
  /** Replaces what is stored of the recipients' states, atomically. */
  update(entry: QueueEntry): Promise<void>;
  /** Removes an entry and its message; not an error when it is gone. */
  remove(id: string): Promise<void>;
  /** Opens the message as it is to be sent: prepended header fields first, CRLF lines, not dot-stuffed. */
  open(id: string): Promise<QueuedMessage>;
  /**
   * Writes down that the final dot is being sent for these recipients (indices into the entry), before its reply is
   * known. If the process dies before {@linkcode Queue.dotAnswered}, the next scan shows the attempt as
   * "dot sent, no reply". Resolves when durable.
   */
  dotSent(
    id: string,
    attempt: { recipients: readonly number[]; host: string; address: string; at: number },
  ): Promise<void>;
  /**
   * Writes down the answer to the dot for these recipients: `relayed` ones are not sent again even if the process dies
   * before {@linkcode Queue.update} or {@linkcode Queue.remove}. Resolves when durable.
   */
  dotAnswered(id: string, outcome: { recipients: readonly number[]; relayed: boolean }): Promise<void>;
}

/** A message being read; disposed when done. */
export interface QueuedMessage extends AsyncDisposable {
  /** Octets in all. */
  readonly size: number;
  /** The bytes, in chunks that are valid until the next one is asked for. */
  chunks(): AsyncIterable<Uint8Array>;
}
