/**
 * Hashes of one body for any number of signatures, while it streams by (RFC 6376 §3.4.3, §3.4.4, §3.5 `l=`).
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash, type Hash } from "node:crypto";
import { RelaxedBody, SimpleBody } from "./body.ts";

/** How a body or a header section is brought to its canonical form (RFC 6376 §3.4). */
export type Canonicalization = "simple" | "relaxed";

/** What a signature says of the body. */
export interface BodyHashRequest {
  /** The second half of `c=`. */
  readonly canonicalization: Canonicalization;
  /** Octets of the canonical body that are hashed (`l=`); all of them if absent. */
  readonly length?: number;
}

/** The outcome. */
export interface BodyHash {
  /** SHA-256; `undefined` where the canonical body is shorter than the length that was asked for. */
  readonly digest: Buffer | undefined;
  /** Octets of the whole canonical body. */
  readonly bodyLength: number;
}

/**
 * SHA-256 of one body. However many hashes are asked for, each canonical form is made and hashed once: the hash of a
 * shorter part is a snapshot on the way. Memory is bounded by the number of requests.
 */
export class BodyHashes {
  readonly #forms = new Map<Canonicalization, CanonicalHash>();

  /**
   * Asks for a hash, before the first {@linkcode BodyHashes.push}. Equal requests share one.
   * @returns to be called once the body is over
   */
  request({ canonicalization, length = Infinity }: BodyHashRequest): () => BodyHash {
    let form = this.#forms.get(canonicalization);
    if (form === undefined) this.#forms.set(canonicalization, form = new CanonicalHash(canonicalization));
    return form.request(length);
  }

  /** Takes bytes of the body, cut anywhere. */
  push(chunk: Uint8Array): void {
    for (const form of this.#forms.values()) form.push(chunk);
  }

  /** The body is over. */
  finish(): void {
    for (const form of this.#forms.values()) form.finish();
  }
}

/** One canonical form, its running hash, and the lengths at which a snapshot is wanted. */
class CanonicalHash {
  readonly #body: RelaxedBody | SimpleBody;
  readonly #hash: Hash = createHash("sha256");
  readonly #digests = new Map<number, Buffer>();
  /** Lengths that have not been reached, the nearest one last. */
  #lengths: number[] = [];
  #total = 0;

  constructor(canonicalization: Canonicalization) {
    const take = (bytes: Uint8Array) => this.#take(bytes);
    this.#body = canonicalization === "relaxed" ? new RelaxedBody(take) : new SimpleBody(take);
  }

  request(length: number): () => BodyHash {
    if (!this.#lengths.includes(length)) {
      this.#lengths.push(length);
      this.#lengths.sort((a, b) => b - a);
    }
    return () => ({ digest: this.#digests.get(length), bodyLength: this.#total });
  }

  push(chunk: Uint8Array): void {
    this.#body.push(chunk);
  }

  finish(): void {
    this.#body.finish();
    // What is left is either reached just here, or is the whole body.
    this.#take(new Uint8Array(0));
    if (this.#lengths.includes(Infinity)) this.#digests.set(Infinity, this.#hash.digest());
  }

  #take(bytes: Uint8Array): void {
    let rest = bytes;
    for (;;) {
      const next = this.#lengths.at(-1) ?? Infinity;
      const room = next - this.#total;
      if (room > rest.length) break;
      this.#update(rest.subarray(0, room));
      rest = rest.subarray(room);
      this.#digests.set(next, this.#hash.copy().digest());
      this.#lengths.pop();
    }
    this.#update(rest);
  }

  #update(bytes: Uint8Array): void {
    this.#total += bytes.length;
    // Where no hash of the whole is wanted, nothing after the longest part counts.
    if (bytes.length > 0 && this.#lengths.length > 0) this.#hash.update(bytes);
  }
}
