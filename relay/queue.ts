/**
 * The queue as seen by code that accepts, sends and manages mail, independent of its storage: `relay/spool/` is
 * the implementation.
 *
 * An entry has one owner, the process that works on it: no other changes it, so that it may be kept in memory, and
 * {@linkcode Queue.update} replaces all that was stored of it. Most queues have one owner for all entries, the process
 * that has the queue open. One with several has {@linkcode Queue.shared}: it claims entries for this process and offers
 * them, takes them back while they wait, and refuses changes of what is another's.
 *
 * @module
 */
import type { QueueEntry } from "./queue_entry.ts";
import type { QueueFilter } from "./queue_filter.ts";
import type { SharedHosts } from "./shared_hosts.ts";

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

/** An entry could not be changed since this process is not, or no longer, its owner. */
export class NotHeldError extends Error {
  /** `id` names the entry. */
  constructor(id: string) {
    super(`${id} is not held by this process`);
    this.name = "NotHeldError";
  }
}

/** Who works on the entries that a {@linkcode SharedQueue} claims for this process. */
export interface QueueFollower {
  /** Takes over an entry. What was known of it before no longer counts. */
  offer(summary: QueueSummary): void;
  /** Gives up every entry at once, as others may own them by now. */
  lost(): void;
  /** Gives up an entry that another process wants; false while it is in use. */
  release(id: string): boolean;
  /** Whether this entry is still in use here, perhaps as a former owner; it is not offered meanwhile. */
  isOpen(id: string): boolean;
}

/**
 * The part of a queue with several owners. A new entry belongs to the process that added it, any other to the one that
 * it was offered to. Who does not own an entry gets a {@linkcode NotHeldError} from every change, and nothing is
 * changed.
 */
export interface SharedQueue {
  /** Connections to one host, counted over all processes; absent: each counts its own. */
  readonly hosts?: SharedHosts;
  /** Offers from now on what this process gets to own. */
  follow(follower: QueueFollower): void;
  /** Claims and offers nothing more. */
  unfollow(): void;
  /**
   * Takes back an entry that is not in use here, if there is nothing to do for it before long. It is offered again,
   * to this process or another one, after `wait` (milliseconds; Infinity: only when it is changed).
   * @returns whether it is taken back: it must not be worked on then
   */
  giveBack(entry: QueueEntry, wait: number): boolean;
  /** Whether a notice was added under this id, even if another process has it now or has sent it. */
  wasAdded(id: string): Promise<boolean>;
}

/** Holds accepted messages until each recipient is settled. All promises resolve only when the change is durable. */
export interface Queue {
  /** Present if entries may belong to other processes. */
  readonly shared?: SharedQueue;
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
  /** What the latest scan could not read, as far as that is possible now; absent: there is no such thing. */
  scanRest?(): AsyncIterable<QueueSummary>;
  /**
   * The ids of all entries, held ones too, in no order; for `queue list`. May miss or name what changes meanwhile. What
   * is known at once not to be meant by the filter may be left out.
   */
  ids(filter?: QueueFilter): AsyncIterable<string>;
  /**
   * An entry in its current state; `undefined` when it is gone. Of a {@linkcode SharedQueue}, one without an owner is
   * claimed, and one that another process owns counts as gone.
   */
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
