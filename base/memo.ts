/**
 * Memoises results in bounded memory.
 *
 * @module
 */
import { heldOctets } from "./held_octets.ts";
import { ownText } from "./own_text.ts";

const DEFAULT_MAX_OCTETS = 1024 ** 2;
/** A result larger than this part of the bound is not kept. */
const SHARE = 1 / 64;
/** The overhead of a map entry, in octets. */
const ENTRY = 64;

/** The bounds of a memo. */
export interface MemoOptions<T> {
  /** Octets of keys and results together; 1 MiB by default. */
  readonly maxOctets?: number;
  /** Measures a result in octets; by default {@linkcode heldOctets}. */
  readonly sizeOf?: (answer: T) => number;
}

/** Results that never change, by key. When full it is cleared wholesale. */
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

  /** The result, if it was kept. */
  get(question: string): T | undefined {
    return this.#kept.get(question);
  }

  /** Keeps a result unless it is large, and returns it. Text in it should be {@linkcode ownText}. */
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
