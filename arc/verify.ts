/**
 * Authenticated Received Chains, validated (RFC 8617 §5.2): what servers on the way say they saw, sealed one over the
 * other.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { BodyHash, BodyHashes } from "../dkim/body_hashes.ts";
import type { KeyAnswer, KeyLookups } from "../dkim/key_lookups.ts";
import { readSignatureTags, type SignatureTags } from "../dkim/signature.ts";
import { type SignedFields, SignedTooMuchError } from "../dkim/signed_fields.ts";
import { requestBodyHash, verifySignature } from "../dkim/verify.ts";
import type { HeaderSection } from "../message/header_section.ts";
import { ArcError, type ArcSet, orArcError, readChain } from "./chain.ts";

/** The outcome of a chain (RFC 8617 §4.4). */
export interface ArcResult {
  /** `none`: there is no chain. All failures are for good, those of DNS too (§5.2.1). */
  readonly result: "none" | "pass" | "fail";
  /** Why it failed. */
  readonly reason?: string;
  /** The domain that sealed last; only of a chain that passes. */
  readonly sealer?: string;
  /** How many sets a chain that passes has. */
  readonly sets?: number;
}

/** What an {@linkcode ArcVerification} needs; those of DKIM may be shared with it. */
export interface ArcVerificationOptions {
  /** All fields. */
  readonly section: HeaderSection;
  /** The same. */
  readonly signedFields: SignedFields;
  /** Is given the body by the caller. */
  readonly bodyHashes: BodyHashes;
  /** Finds the public keys. */
  readonly keys: KeyLookups;
  /** When the message came, in milliseconds since the epoch. */
  readonly now: number;
}

/** One message's chain on its way to a verdict. */
export class ArcVerification {
  readonly #options: ArcVerificationOptions;
  readonly #state: Broken | Chain;

  /** Reads the chain, asks for the keys of its last set and for the hash of the body. */
  constructor(options: ArcVerificationOptions) {
    this.#options = options;
    this.#state = this.#begin();
  }

  /** The outcome. To be called when the body is over. */
  async finish(): Promise<ArcResult> {
    const state = this.#state;
    if ("reason" in state) return { result: "fail", reason: state.reason };
    const { sets, last } = state;
    const newest = sets.at(-1);
    if (newest === undefined || last === undefined) return { result: "none" };
    const count = sets.length;
    const signed = await verifySignature({
      signature: last.signature,
      field: newest.signature,
      key: await last.signatureKey,
      body: last.body(),
      fields: this.#options.signedFields,
    });
    if (signed.result !== "pass") return fail(`the signature of set ${count}: ${signed.reason}`);
    // The keys of older seals are asked for only now: a chain made of nothing is not worth that many queries.
    const problem = await this.#verifySeal(sets, last.sealKey) ?? await this.#verifyOlder(sets);
    return problem === undefined
      ? { result: "pass", sealer: newest.sealTags.domain, sets: count }
      : fail(problem);
  }

  #begin(): Broken | Chain {
    const { section, keys, bodyHashes, now } = this.#options;
    try {
      const sets = readChain(section);
      const newest = sets.at(-1);
      if (newest === undefined) return { sets };
      const signature = orArcError(() => readSignatureTags(newest.signatureTags), newest.signature);
      // A sealer must sign no field of ARC (§4.1.2), but those of the drafts sign its results, which does no harm. A seal
      // comes after the signature: none that is there can be its own.
      if (signature.names.includes("arc-seal")) throw new ArcError("h= has ARC-Seal");
      if (signature.expiresAt !== undefined && signature.expiresAt < now / 1000) {
        throw new ArcError("signature expired");
      }
      const signatureKey = keys.find(signature);
      const sealKey = keys.find(newest.sealTags);
      return {
        sets,
        last: { signature, signatureKey, sealKey, body: requestBodyHash(bodyHashes, signature) },
      };
    } catch (error) {
      if (!(error instanceof ArcError)) throw error;
      return { reason: error.message };
    }
  }

  /** The seals of all sets but the last, from the newest down. */
  async #verifyOlder(sets: readonly ArcSet[]): Promise<string | undefined> {
    const answers = sets.map(({ sealTags }) => this.#options.keys.find(sealTags));
    for (let count = sets.length - 1; count > 0; count--) {
      const answer = answers[count - 1];
      const problem = answer && await this.#verifySeal(sets.slice(0, count), answer);
      if (problem !== undefined) return problem;
    }
    return undefined;
  }

  /** What is wrong with the seal of the last of these sets, over all of them (§5.1.1). */
  async #verifySeal(sets: readonly ArcSet[], answer: Promise<KeyAnswer>): Promise<string | undefined> {
    const key = await answer;
    const problem = (reason: string) => `the seal of set ${sets.length}: ${reason}`;
    if (key.kind !== "key") return problem(key.reason);
    try {
      const sealed = await key.key.verify(
        sets.at(-1)?.sealTags.signature ?? Buffer.alloc(0),
        this.#sealInput(sets),
      );
      return sealed ? undefined : problem("signature did not verify");
    } catch (error) {
      if (!(error instanceof SignedTooMuchError)) throw error;
      return problem(error.message);
    }
  }

  #sealInput(sets: readonly ArcSet[]): Uint8Array<ArrayBuffer> {
    const fields = sets.flatMap(({ results, signature, seal }) => [results, signature, seal]);
    const seal = fields.pop();
    return seal === undefined ? new Uint8Array(0) : this.#options.signedFields.sealInput(fields, seal);
  }
}

interface Broken {
  readonly reason: string;
}

interface Chain {
  readonly sets: readonly ArcSet[];
  /** Of the last set, if there is one. */
  readonly last?: {
    readonly signature: SignatureTags;
    readonly signatureKey: Promise<KeyAnswer>;
    readonly sealKey: Promise<KeyAnswer>;
    readonly body: () => BodyHash;
  };
}

function fail(reason: string): ArcResult {
  return { result: "fail", reason };
}
