/**
 * Answers kept for a while, and questions asked once.
 *
 * @module
 */
import type { Clock } from "../smtp/clock.ts";

const MAX_ENTRIES = 10_000;

/** Keeps up to 10,000 answers by key; the oldest makes room. */
export class AnswerCache<T> {
  readonly #clock: Clock;
  readonly #kept = new Map<string, { readonly value: T; readonly until: number }>();
  readonly #asked = new Map<string, Promise<T>>();

  /** Empty. */
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
    if (asked !== undefined) return await asked;
    const answer = this.#askAnew(key, ask);
    this.#asked.set(key, answer);
    try {
      return await answer;
    } finally {
      if (this.#asked.get(key) === answer) this.#asked.delete(key);
    }
  }

  /** A kept answer. */
  peek(key: string): T | undefined {
    const kept = this.#kept.get(key);
    return kept !== undefined && this.#clock.monotonic() < kept.until ? kept.value : undefined;
  }

  /** Forgets all answers; a question that is being asked is not kept either. */
  clear(): void {
    this.#kept.clear();
    this.#asked.clear();
  }

  async #askAnew(key: string, ask: () => Promise<{ value: T; keep: number }>): Promise<T> {
    const { value, keep } = await ask();
    if (!this.#asked.has(key)) return value;
    this.#kept.delete(key);
    const [oldest] = this.#kept.keys();
    if (oldest !== undefined && this.#kept.size >= MAX_ENTRIES) this.#kept.delete(oldest);
    if (keep > 0) this.#kept.set(key, { value, until: this.#clock.monotonic() + keep });
    return value;
  }
}
