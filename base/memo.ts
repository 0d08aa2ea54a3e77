/**
 * What was worked out before, for questions that come again and again, in bounded memory.
 *
 * @module
 */

/** So many answers are kept; then all are forgotten, which costs less than to know the oldest. */
const MAX_KEPT = 1000;

/** Answers that never change, by question. */
export class Memo<T> {
  readonly #kept = new Map<string, T>();

  /** The answer, if it was kept. */
  get(question: string): T | undefined {
    return this.#kept.get(question);
  }

  /** Keeps an answer for a while, and returns it. */
  keep(question: string, answer: T): T {
    if (this.#kept.size >= MAX_KEPT) this.#kept.clear();
    this.#kept.set(question, answer);
    return answer;
  }
}
