/**
 * Fresh queue ids.
 *
 * @module
 */

// Consecutive messages share a directory, and so the syncs of it; a directory stays small enough to list at once.
const MESSAGES_PER_SHARD = 1000;
const SHARDS = 1024;

/** What {@linkcode QueueIds} need. */
export interface QueueIdsOptions {
  /** The spool's time in whole milliseconds. */
  readonly now: () => number;
  /** Fills a buffer with random bytes. */
  readonly random: (buffer: Uint8Array<ArrayBuffer>) => void;
  /** How many threads of this process draw ids; default: 1. */
  readonly sources?: number;
  /** The number of this one among them, from 0. */
  readonly source?: number;
  /** The directory to begin with, as that of {@linkcode QueueIds.firstShard}; default: any. */
  readonly firstShard?: number;
}

/** The ids that one thread draws: lower-case letters and digits, the shard in the last two. */
export class QueueIds {
  readonly #now: () => number;
  readonly #random: (buffer: Uint8Array<ArrayBuffer>) => void;
  /** The directory of its first ids, by number. Threads that begin with the same share the syncs of it. */
  readonly firstShard: number;
  readonly #step: number;
  readonly #first: number;
  #drawn = 0;

  /** Draws nothing yet but its first directory. */
  constructor(options: QueueIdsOptions) {
    this.#now = options.now;
    this.#random = options.random;
    this.#step = options.sources ?? 1;
    this.#first = options.source ?? 0;
    this.firstShard = options.firstShard ?? this.#draw() % SHARDS;
  }

  /** An id that was never drawn before. */
  next(): string {
    const sequence = this.#first + this.#drawn++ * this.#step;
    const shard = (this.firstShard + Math.floor(sequence / MESSAGES_PER_SHARD)) % SHARDS;
    // The time sorts, and tells how old the message is; the sequence tells apart what the threads of one process make
    // within a millisecond; the random part does so between processes.
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
