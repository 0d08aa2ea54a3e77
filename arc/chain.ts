/**
 * The ARC sets of a message, collected and held against the structure of a chain (RFC 8617 §4, §5.2 steps 1 to 3).
 *
 * @module
 */
import { fieldValue, type HeaderField, type HeaderSection } from "../message/header_section.ts";
import { withoutComments } from "./comments.ts";
import { type KeyTags, readSealTags, SignatureError, signatureTags, type Tags } from "../dkim/signature.ts";

/** Sets of one message (§4.2.1). */
const MAX_SETS = 50;

const AAR = "arc-authentication-results";
const AMS = "arc-message-signature";
const AS = "arc-seal";

/** One set: what one server says of the message, and its two signatures. */
export interface ArcSet {
  /** ARC-Authentication-Results. */
  readonly results: HeaderField;
  /** ARC-Message-Signature. */
  readonly signature: HeaderField;
  /** Its tags. */
  readonly signatureTags: Tags;
  /** ARC-Seal. */
  readonly seal: HeaderField;
  /** What it says. */
  readonly sealTags: KeyTags;
}

/** Why a chain is broken. */
export class ArcError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "ArcError";
  }
}

/**
 * The sets of a message, the first one first; none where it has no ARC field.
 * @throws {ArcError} where they are no chain
 */
export function readChain(section: HeaderSection): ArcSet[] {
  const all = [AAR, AMS, AS].flatMap((name) => section.named(name));
  if (all.length === 0) return [];
  if (all.length > 3 * MAX_SETS) throw new ArcError(`more than ${MAX_SETS} sets`);
  const byInstance = Map.groupBy(all.map(readField), ({ instance }) => instance);
  const count = Math.max(...byInstance.keys());
  if (
    byInstance.get(count)?.some(({ field, tags }) => field.name === AS && chainStatus(tags) === "fail")
  ) {
    throw new ArcError(`the seal of set ${count} says so`);
  }
  return Array.from({ length: count }, (_, index) => readSet(byInstance.get(index + 1) ?? [], index + 1));
}

interface ReadField {
  readonly field: HeaderField;
  readonly instance: number;
  /** Of ARC-Authentication-Results: none. */
  readonly tags: Tags;
}

function readField(field: HeaderField): ReadField {
  if (field.name === AAR) {
    // The instance stands in front of what Authentication-Results would say.
    const value = withoutComments(fieldValue(field), { until: ";" });
    const [, instance = ""] = /^[ \t\r\n]*i[ \t\r\n]*=[ \t\r\n]*(\d+)[ \t\r\n]*;/.exec(value) ?? [];
    return { field, instance: readInstance(instance), tags: new Map() };
  }
  // Comments may stand around the instance, and in a seal around cv (§3.9), whose other tags have no parentheses.
  const read = (value: string) => withoutComments(value, field.name === AMS ? { until: ";" } : {});
  const tags = orArcError(() => signatureTags(field, read), field);
  return { field, instance: readInstance(tags.get("i") ?? ""), tags };
}

function readInstance(text: string): number {
  const instance = /^\d{1,2}$/.test(text) ? Number(text) : 0;
  if (instance < 1 || instance > MAX_SETS) throw new ArcError("a field without its place in the chain");
  return instance;
}

/** `cv=`, whose words are in any case (RFC 5234 §2.3). */
function chainStatus(tags: Tags): string | undefined {
  return tags.get("cv")?.toLowerCase();
}

function readSet(fields: readonly ReadField[], instance: number): ArcSet {
  const only = (name: string) => {
    const [first, second] = fields.filter(({ field }) => field.name === name);
    if (first === undefined || second !== undefined) {
      throw new ArcError(`set ${instance} is incomplete: ${first ? "more than one" : "no"} ${name}`);
    }
    return first;
  };
  const [results, signature, seal] = [only(AAR), only(AMS), only(AS)];
  if (chainStatus(seal.tags) !== (instance === 1 ? "none" : "pass")) {
    throw new ArcError(`the seal of set ${instance} has another cv=`);
  }
  if (seal.tags.has("h")) throw new ArcError(`the seal of set ${instance} has h=`);
  return {
    results: results.field,
    signature: signature.field,
    signatureTags: signature.tags,
    seal: seal.field,
    sealTags: orArcError(() => readSealTags(seal.tags), seal.field),
  };
}

/** Runs what reads a signature, whose errors are those of the chain. */
export function orArcError<T>(read: () => T, { name }: HeaderField): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof SignatureError)) throw error;
    throw new ArcError(`${name}: ${error.message}`);
  }
}
