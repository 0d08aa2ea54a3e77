/**
 * Messages that have just been stored, for their first attempt: most leave at once, and need not be read again.
 *
 * @module
 */
import type { QueuedMessage } from "../queue.ts";
import type { QueueEntry } from "../queue_entry.ts";

interface Fresh {
  /** Until it is taken. */
  entry: QueueEntry | undefined;
  readonly message: Uint8Array;
  readonly octets: number;
}

// What a recipient takes in an entry in memory, generously.
const RECIPIENT_OCTETS = 1024;

/** Holds small messages as they stand on the disk, the latest first to stay. What is not here is read from there. */
export class FreshMessages {
  readonly #messages = new Map<string, Fresh>();
  readonly #limit: number;
  readonly #untried: (entry: QueueEntry) => void;
  #octets = 0;

  /**
   * @param limit octets of all messages and their recipients together
   * @param untried called with an entry that was not taken when there is no more room for it, or at the end
   */
  constructor(limit: number, untried: (entry: QueueEntry) => void) {
    this.#limit = limit;
    this.#untried = untried;
  }

  /** Keeps a message that has no state yet. The entry and the octets are its own from now on. */
  add(entry: QueueEntry, message: Uint8Array): void {
    this.delete(entry.id);
    const octets = message.length + RECIPIENT_OCTETS * entry.recipients.length;
    this.#messages.set(entry.id, { entry, message, octets });
    this.#octets += octets;
    for (const id of this.#messages.keys()) {
      if (this.#octets <= this.#limit) break;
      this.#pass(id);
    }
  }

  /** Whether it is here, which means too that only the message is on the disk, and it is not read from there. */
  has(id: string): boolean {
    return this.#messages.has(id);
  }

  /** The entry while it has not been taken; it stays. */
  entryOf(id: string): QueueEntry | undefined {
    return this.#messages.get(id)?.entry;
  }

  /** The entry, for the first who asks: there is one copy, and that is changed in place. */
  takeEntry(id: string): QueueEntry | undefined {
    const fresh = this.#messages.get(id);
    const entry = fresh?.entry;
    if (fresh !== undefined) fresh.entry = undefined;
    return entry;
  }

  /** The message, for as many as ask. */
  open(id: string): QueuedMessage | undefined {
    const message = this.#messages.get(id)?.message;
    return message && {
      size: message.length,
      async *chunks() {
        yield message;
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  }

  /** Forgets them all. */
  clear(): void {
    for (const id of this.#messages.keys()) this.#pass(id);
  }

  /** Forgets it: it is gone, or has a state. */
  delete(id: string): void {
    const fresh = this.#messages.get(id);
    if (fresh === undefined) return;
    this.#messages.delete(id);
    this.#octets -= fresh.octets;
  }

  #pass(id: string): void {
    const entry = this.takeEntry(id);
    this.delete(id);
    if (entry !== undefined) this.#untried(entry);
  }
}
