/**
 * DKIM signatures of a message that streams by, verified (RFC 6376 §6, RFC 8301, RFC 8463): the header section is
 * there at the beginning, the body is only hashed, and the keys are asked for while it comes.
 *
 * @module
 */
import type { HeaderField, HeaderSection } from "../message/header_section.ts";
import type { BodyHash, BodyHashes } from "./body_hashes.ts";
import type { DkimAlgorithm } from "./keys.ts";
import type { KeyAnswer, KeyLookups } from "./key_lookups.ts";
import {
  type DkimSignatureTags,
  readDkimSignature,
  SignatureError,
  type SignatureTags,
  signatureTags,
} from "./signature.ts";
import { type SignedFields, SignedTooMuchError } from "./signed_fields.ts";

/** The words for the outcome of a signature (RFC 8601 §2.7.1); `none` is said of a message without one. */
export type DkimWord = "pass" | "fail" | "neutral" | "policy" | "temperror" | "permerror";

/** The outcome of one signature. */
export interface DkimResult {
  /** The outcome. */
  readonly result: DkimWord;
  /** Why, in the words of RFC 6376 §6.1; for `pass` what to bear in mind, if anything. */
  readonly reason?: string;
  /** `d=`, in lower case with A-labels; absent where that says nothing. */
  readonly domain?: string;
  /** `s=`, likewise. */
  readonly selector?: string;
  /** `a=`. */
  readonly algorithm?: DkimAlgorithm;
  /** The first eight characters of `b=`, which tell the signatures of a message apart (RFC 6008). */
  readonly signature?: string;
}

/** What a {@linkcode DkimVerification} needs. */
export interface DkimVerificationOptions {
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

/** How many signatures of a message are examined, from the top; others are skipped. */
export const MAX_SIGNATURES = 10;
/** How far the signer's clock may be ahead, in seconds. */
const MAX_CLOCK_DRIFT = 3600;

/** One message's signatures on their way to a verdict. */
export class DkimVerification {
  readonly #candidates: readonly Candidate[];
  readonly #options: DkimVerificationOptions;

  /** Reads the signatures, asks for their keys and for the hashes of the body. */
  constructor(options: DkimVerificationOptions) {
    this.#options = options;
    this.#candidates = options.section.named("dkim-signature").slice(0, MAX_SIGNATURES)
      .map((field) => this.#read(field));
  }

  /** The outcome of each signature, in their order; none where there is none. To be called when the body is over. */
  async finish(): Promise<DkimResult[]> {
    const results: DkimResult[] = [];
    // One after the other, for what is signed may be long: others may have their turn while each is verified.
    for (const candidate of this.#candidates) results.push(await this.#verify(candidate));
    return results;
  }

  #read(field: HeaderField): Candidate {
    const { now, keys, bodyHashes } = this.#options;
    let about: About = {};
    try {
      const tags = signatureTags(field);
      about = aboutSignature(tags);
      const signature = readDkimSignature(tags);
      about = {
        ...about,
        domain: signature.domain,
        selector: signature.selector,
        algorithm: signature.algorithm,
      };
      const timing = outOfTime(signature, now / 1000);
      if (timing !== undefined) return { about, verdict: timing };
      return {
        about,
        field,
        signature,
        key: keys.find(signature),
        body: requestBodyHash(bodyHashes, signature),
      };
    } catch (error) {
      if (!(error instanceof SignatureError)) throw error;
      return { about, verdict: { result: "permerror", reason: error.message } };
    }
  }

  async #verify(candidate: Candidate): Promise<DkimResult> {
    const { about } = candidate;
    if (candidate.verdict !== undefined) return { ...candidate.verdict, ...about };
    const { field, signature } = candidate;
    const key = await candidate.key;
    if (key.kind === "key" && key.key.exactDomain && signature.identityDomain !== signature.domain) {
      const mismatch = { result: "permerror", reason: "domain mismatch: i= is not d=" } as const;
      return { ...untested(mismatch, key), ...about };
    }
    const body = candidate.body();
    const verdict = await verifySignature({
      signature,
      field,
      key,
      body,
      fields: this.#options.signedFields,
    });
    if (verdict.result !== "pass") return { ...untested(verdict, key), ...about };
    const left = body.bodyLength - (signature.bodyLength ?? body.bodyLength);
    const reasons = [
      ...(key.kind === "key" && key.key.testing ? ["test key"] : []),
      ...(left > 0 ? [`${left} octets of the body are not signed`] : []),
    ];
    return { result: "pass", ...(reasons.length > 0 && { reason: reasons.join(", ") }), ...about };
  }
}

type About = Omit<DkimResult, "result" | "reason">;
type Verdict = Pick<DkimResult, "result" | "reason">;

type Candidate =
  | { readonly about: About; readonly verdict: Verdict }
  | {
    readonly about: About;
    readonly verdict?: never;
    readonly field: HeaderField;
    readonly signature: DkimSignatureTags;
    readonly key: Promise<KeyAnswer>;
    readonly body: () => BodyHash;
  };

/** Asks for the hash of the body that a signature speaks of. */
export function requestBodyHash(
  bodyHashes: BodyHashes,
  { bodyCanonicalization, bodyLength }: SignatureTags,
): () => BodyHash {
  return bodyHashes.request({
    canonicalization: bodyCanonicalization,
    ...(bodyLength !== undefined && { length: bodyLength }),
  });
}

/** What {@linkcode verifySignature} holds against each other. */
export interface SignatureCheck {
  /** What the signature says. */
  readonly signature: SignatureTags;
  /** The field it is in. */
  readonly field: HeaderField;
  /** Its key. */
  readonly key: KeyAnswer;
  /** What happened to the body. */
  readonly body: BodyHash;
  /** All fields. */
  readonly fields: SignedFields;
}

/** Whether body and header section are those that were signed (RFC 6376 §6.1.3). */
export async function verifySignature(
  { signature, field, key, body, fields }: SignatureCheck,
): Promise<Verdict> {
  if (key.kind === "failed") return { result: "temperror", reason: key.reason };
  if (key.kind === "unusable") return { result: "permerror", reason: key.reason };
  if (body.digest === undefined) return { result: "fail", reason: "body shorter than l=" };
  if (!body.digest.equals(signature.bodyHash)) return { result: "fail", reason: "body hash did not verify" };
  const { names, headerCanonicalization: canonicalization } = signature;
  try {
    const input = fields.input({ names, canonicalization, signature: field });
    return await key.key.verify(signature.signature, input)
      ? { result: "pass" }
      : { result: "fail", reason: "signature did not verify" };
  } catch (error) {
    if (!(error instanceof SignedTooMuchError)) throw error;
    return { result: "policy", reason: error.message };
  }
}

/** The verdict on a signature that is not valid yet or any more. */
function outOfTime({ signedAt, expiresAt }: SignatureTags, now: number): Verdict | undefined {
  if (expiresAt !== undefined && expiresAt < now) return { result: "permerror", reason: "signature expired" };
  if (signedAt !== undefined && signedAt > now + MAX_CLOCK_DRIFT) {
    return { result: "policy", reason: "signature is from the future" };
  }
  return undefined;
}

/** A domain that only tries DKIM out is not to suffer for it (RFC 6376 §3.6.1, `t=y`). */
function untested({ result, reason = "" }: Verdict, key: KeyAnswer): Verdict {
  const testing = key.kind === "key" && key.key.testing && result !== "temperror";
  return testing ? { result: "neutral", reason: `${reason} (test key)` } : { result, reason };
}

/** What can be said of a signature whatever is wrong with it. */
function aboutSignature(tags: ReadonlyMap<string, string>): About {
  const signature = tags.get("b")?.replaceAll(/[ \t\r\n]/g, "").slice(0, 8) ?? "";
  return /^[A-Za-z0-9+/]{8}$/.test(signature) ? { signature } : {};
}
