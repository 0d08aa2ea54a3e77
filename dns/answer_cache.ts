/**
 * A cache of answers, which also merges concurrent queries.
 *
 * @module
 */
import type { Clock } from "../base/clock.ts";
import { heldOctets } from "../base/held_octets.ts";
import { ownText } from "../base/own_text.ts";

const MAX_ENTRIES = 10_000;
/** Of questions and answers together; an answer over TCP may be 64 KiB. */
const MAX_OCTETS = 32 * 1024 ** 2;

interface Kept<T> {
  readonly value: T;
  /** By the clock's monotonic milliseconds. */
  readonly until: number;
}

/** Keeps up to 10,000 answers by key, in up to 32 MiB; of both the latest half in any case. */
export class AnswerCache<T> {
  readonly #clock: Clock;
  /** Two halves, of which the older one is dropped as a whole, at no cost per answer. */
  #recent = new Map<string, Kept<T>>();
  #older: ReadonlyMap<string, Kept<T>> = new Map();
  /** Of the recent half. */
  #octets = 0;
  readonly #asked = new Map<string, Promise<{ value: T; keep: number }>>();

  /** `clock` measures how old answers are. */
  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * The answer to this question: a kept one, the one that is being waited for, or what `ask` gives, which says for how
   * many milliseconds it may be kept.
   */
  async get(key: string, ask: () => Promise<{ value: T; keep: number }>): Promise<T> {
    const kept = this.peek(key);
    if (kept !== undefined) return kept;
    const asked = this.#asked.get(key);
    if (asked !== undefined) return (await asked).value;
    const answer = ask();
    this.#asked.set(key, answer);
    try {
      const { value, keep } = await answer;
      if (keep > 0 && this.#asked.get(key) === answer) {
        this.#keep(key, { value, until: this.#clock.monotonic() + keep });
      }
      return value;
    } finally {
      if (this.#asked.get(key) === answer) this.#asked.delete(key);
    }
  }

  /** A kept answer. */
  peek(key: string): T | undefined {
    const kept = this.#recent.get(key) ?? this.#older.get(key);
    return kept !== undefined && this.#clock.monotonic() < kept.until ? kept.value : undefined;
  }

  /** Forgets all answers; a question that is being asked is not kept either. */
  clear(): void {
    this.#recent.clear();
    this.#older = new Map();
    this.#octets = 0;
    this.#asked.clear();
  }

  #keep(key: string, kept: Kept<T>): void {
    const octets = heldOctets(key) + heldOctets(kept);
    if (octets > MAX_OCTETS / 2) return;
    if (this.#recent.size >= MAX_ENTRIES / 2 || this.#octets + octets > MAX_OCTETS / 2) {
      this.#older = this.#recent;
      this.#recent = new Map();
      this.#octets = 0;
    }
    this.#recent.set(ownText(key), kept);
    this.#octets += octets;
  }
}
