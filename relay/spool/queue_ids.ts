/**
 * Fresh queue ids.
 *
 * @module
 */
import type { Clock } from "../../base/clock.ts";

// Consecutive messages share a directory, and so the syncs of it; a directory stays small enough to list at once.
const MESSAGES_PER_SHARD = 1000;
const SHARDS = 1024;

/** The ids that one process draws: lower-case letters and digits, the shard in the last two. */
export class QueueIds {
  readonly #clock: Clock;
  readonly #random: (buffer: Uint8Array<ArrayBuffer>) => void;
  readonly #firstShard: number;
  #sequence = 0;

  /** `random` fills a buffer with random bytes. */
  constructor(
    options: { readonly clock: Clock; readonly random: (buffer: Uint8Array<ArrayBuffer>) => void },
  ) {
    this.#clock = options.clock;
    this.#random = options.random;
    this.#firstShard = this.#draw() % SHARDS;
  }

  /** An id that was never drawn before. */
  next(): string {
    const sequence = this.#sequence++;
    const shard = (this.#firstShard + Math.floor(sequence / MESSAGES_PER_SHARD)) % SHARDS;
    // The time sorts; the sequence tells apart what one process makes within a millisecond or with a clock set back;
    // the random part does so between processes.
    return this.#clock.now().toString(36) + base36(sequence, 4) + base36(this.#draw(), 4) + base36(shard, 2);
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
