/**
 * What was worked out before, for questions that come again and again, in bounded memory.
 *
 * @module
 */
import { heldOctets } from "./held_octets.ts";
import { ownText } from "./own_text.ts";

const DEFAULT_MAX_OCTETS = 1024 ** 2;
/** An answer that takes more than this part of the room is not kept. */
const SHARE = 1 / 64;
/** What a map takes for an entry. */
const ENTRY = 64;

/** What a memo may take. */
export interface MemoOptions<T> {
  /** Octets of questions and answers together; 1 MiB by default. */
  readonly maxOctets?: number;
  /** Octets of an answer; by default {@linkcode heldOctets}. */
  readonly sizeOf?: (answer: T) => number;
}

/** Answers that never change, by question. What is full is cleared as a whole. */
export class Memo<T> {
  readonly #kept = new Map<string, T>();
  readonly #maxOctets: number;
  readonly #sizeOf: (answer: T) => number;
  #octets = 0;

  /** @param options The bound */
  constructor({ maxOctets = DEFAULT_MAX_OCTETS, sizeOf = heldOctets }: MemoOptions<T> = {}) {
    this.#maxOctets = maxOctets;
    this.#sizeOf = sizeOf;
  }

  /** Octets that are held; never more than allowed. */
  get octets(): number {
    return this.#octets;
  }

  /** The answer, if it was kept. */
  get(question: string): T | undefined {
    return this.#kept.get(question);
  }

  /** Keeps an answer for a while, unless it is large, and returns it. Text in it should be {@linkcode ownText}. */
  keep(question: string, answer: T): T {
    const octets = ENTRY + heldOctets(question) + this.#sizeOf(answer);
    if (octets > this.#maxOctets * SHARE || this.#kept.has(question)) return answer;
    if (this.#octets + octets > this.#maxOctets) {
      this.#kept.clear();
      this.#octets = 0;
    }
    this.#kept.set(ownText(question), answer);
    this.#octets += octets;
    return answer;
  }
}
