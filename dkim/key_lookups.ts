/**
 * The public keys that one message needs, each asked for once.
 *
 * @module
 */
import type { Resolver } from "../dns/resolver.ts";
import { type DkimPublicKey, type KeyProblem, readPublicKey } from "./public_key.ts";
import type { KeyTags } from "./signature.ts";

/** The outcome of a look-up. */
export type KeyAnswer =
  | { readonly kind: "key"; readonly key: DkimPublicKey }
  /** There is none, or one that is of no use: the signature will never verify. */
  | { readonly kind: "unusable"; readonly reason: KeyProblem }
  /** DNS could not tell. */
  | { readonly kind: "failed"; readonly reason: string };

/** Whom to ask. */
export interface KeyLookupOptions {
  /** Answers. */
  readonly resolver: Pick<Resolver, "txt">;
  /** Gives up. */
  readonly signal?: AbortSignal | undefined;
}

/** Of several records at one name (RFC 6376 §3.6.2.2 leaves open which counts) this many are tried. */
const MAX_RECORDS = 3;

/** Asks for keys; never rejects. */
export class KeyLookups {
  readonly #options: KeyLookupOptions;
  readonly #answers = new Map<string, Promise<KeyAnswer>>();

  /** Asks nothing yet. */
  constructor(options: KeyLookupOptions) {
    this.#options = options;
  }

  /** The key of a signature. */
  find(tags: Omit<KeyTags, "signature">): Promise<KeyAnswer> {
    const name = `${tags.selector}._domainkey.${tags.domain}`;
    const question = `${tags.algorithm} ${name}`;
    let answer = this.#answers.get(question);
    if (answer === undefined) this.#answers.set(question, answer = this.#ask(name, tags.algorithm));
    return answer;
  }

  async #ask(name: string, algorithm: KeyTags["algorithm"]): Promise<KeyAnswer> {
    const { resolver, signal } = this.#options;
    const answer = await resolver.txt(name, signal && { signal });
    if (answer.kind === "failed") return { kind: "failed", reason: "key unavailable" };
    if (answer.kind !== "found") return { kind: "unusable", reason: "no key for signature" };
    let problem: KeyProblem | undefined;
    for (const record of answer.records.slice(0, MAX_RECORDS)) {
      const key = await readPublicKey(record, algorithm);
      if (typeof key !== "string") return { kind: "key", key };
      problem ??= key;
    }
    return { kind: "unusable", reason: problem ?? "no key for signature" };
  }
}
