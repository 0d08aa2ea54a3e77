/**
 * Fresh queue ids.
 *
 * @module
 */

// Consecutive messages share a directory, and so the syncs of it; a directory stays small enough to list at once.
const MESSAGES_PER_SHARD = 1000;
const SHARDS = 1024;

/** The ids that one process draws: lower-case letters and digits, the shard in the last two. */
export class QueueIds {
  readonly #now: () => number;
  readonly #random: (buffer: Uint8Array<ArrayBuffer>) => void;
  readonly #firstShard: number;
  #sequence = 0;

  /** `now` tells the spool's time in whole milliseconds; `random` fills a buffer with random bytes. */
  constructor(
    options: { readonly now: () => number; readonly random: (buffer: Uint8Array<ArrayBuffer>) => void },
  ) {
    this.#now = options.now;
    this.#random = options.random;
    this.#firstShard = this.#draw() % SHARDS;
  }

  /** An id that was never drawn before. */
  next(): string {
    const sequence = this.#sequence++;
    const shard = (this.#firstShard + Math.floor(sequence / MESSAGES_PER_SHARD)) % SHARDS;
    // The time sorts, and tells how old the message is; the sequence tells apart what one process makes within a
    // millisecond; the random part does so between processes.
    const tail = base36(sequence, 4) + base36(this.#draw(), 4) + base36(shard, 2);
    return this.#now().toString(36) + tail;
  }

  /** 32 random bits. */
  #draw(): number {
    const bytes = new Uint8Array(4);
    this.#random(bytes);
    return new DataView(bytes.buffer).getUint32(0);
  }
}

/** The last `digits` digits of a number in base 36. */
function base36(value: number, digits: number): string {
  return value.toString(36).padStart(digits, "0").slice(-digits);
}
