/**
 * The DKIM-Signature field, read to the letter (RFC 6376 §3.5, §6.1.1).
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { fieldValue, type HeaderField } from "../message/header_section.ts";
import { normalizeDomain } from "../net/domain_name.ts";
import type { Canonicalization } from "./body_hashes.ts";
import type { DkimAlgorithm } from "./keys.ts";
import { isBase64 } from "./public_key.ts";
import { parseTagList } from "./tag_list.ts";

/** Octets of a SHA-256. */
const HASH_OCTETS = 32;
/** Octets of a signature field, and of a tag other than the copies of fields in `z=`; longer ones sign nothing honest. */
const MAX_FIELD = 64 * 1024;
const MAX_TAG = 8 * 1024;
/** Names in `h=`; who signs each field once or twice comes nowhere near. */
const MAX_NAMES = 500;

/** What a DKIM-Signature says, as far as an ARC-Message-Signature says it, too. */
export interface SignatureTags {
  /** `a=`. */
  readonly algorithm: DkimAlgorithm;
  /** `c=`, its first half. */
  readonly headerCanonicalization: Canonicalization;
  /** `c=`, its second half. */
  readonly bodyCanonicalization: Canonicalization;
  /** `d=`, in lower case with A-labels. */
  readonly domain: string;
  /** `s=`, in lower case with A-labels. */
  readonly selector: string;
  /** `h=`, in lower case. */
  readonly names: readonly string[];
  /** `bh=`. */
  readonly bodyHash: Buffer;
  /** `b=`. */
  readonly signature: Buffer;
  /** `l=` in octets, if it is there. */
  readonly bodyLength?: number;
  /** `t=` in seconds since the epoch, if it is there. */
  readonly signedAt?: number;
  /** `x=` in seconds since the epoch, if it is there. */
  readonly expiresAt?: number;
}

/** What a DKIM-Signature says. */
export interface DkimSignatureTags extends SignatureTags {
  /** The domain of `i=`, that of `d=` if absent; in lower case with A-labels. */
  readonly identityDomain: string;
}

/** A signature that says nothing, in the words of RFC 6376 §6.1.1; with what could be read of it. */
export class SignatureError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "SignatureError";
  }
}

/** The tags of a signature field by name, with white space around their values gone. */
export type Tags = ReadonlyMap<string, string>;

/**
 * The tags of a DKIM-Signature, ARC-Message-Signature or ARC-Seal field.
 * @param read takes out of the value of the field what is not a tag list
 * @throws {SignatureError}
 */
export function signatureTags(field: HeaderField, read = (value: string) => value): Tags {
  if (field.text.length > MAX_FIELD) throw new SignatureError("signature field too long");
  const tags = parseTagList(read(fieldValue(field)), { caseSensitive: true });
  if (tags === undefined) throw new SignatureError("signature syntax error");
  for (const [name, value] of tags) {
    if (value.length > MAX_TAG && name !== "z") {
      throw new SignatureError(`signature syntax error: long ${name}=`);
    }
  }
  return tags;
}

/**
 * Reads a DKIM-Signature.
 * @throws {SignatureError} where it must be ignored
 */
export function readDkimSignature(tags: Tags): DkimSignatureTags {
  const version = required(tags, "v");
  if (version !== "1") throw new SignatureError("incompatible version");
  const signature = readSignatureTags(tags);
  const identityDomain = readIdentity(tags, signature.domain);
  return { ...signature, identityDomain };
}

/**
 * Reads what a DKIM-Signature and an ARC-Message-Signature have in common.
 * @throws {SignatureError} where it must be ignored
 */
export function readSignatureTags(tags: Tags): SignatureTags {
  for (const name of ["a", "b", "bh", "d", "h", "s"]) required(tags, name);
  const listed = required(tags, "h").split(":", MAX_NAMES + 1);
  if (listed.length > MAX_NAMES) throw new SignatureError("signature syntax error: long h=");
  const names = listed.map((name) => stripSpace(name).toLowerCase());
  if (!names.every((name) => /^[!-9;-~]+$/.test(name))) throw new SignatureError("signature syntax error");
  if (!names.includes("from")) throw new SignatureError("From field not signed");
  const [header = "", body = "simple", ...rest] = (tags.get("c") ?? "simple/simple").toLowerCase().split("/");
  if (rest.length > 0) throw new SignatureError("signature syntax error");
  const methods = (tags.get("q") ?? "dns/txt").split(":").map((method) => stripSpace(method).toLowerCase());
  if (!methods.includes("dns/txt")) throw new SignatureError("unknown query method");
  const bodyHash = readBase64(tags, "bh");
  if (bodyHash.length !== HASH_OCTETS) throw new SignatureError("body hash of another length");
  const [bodyLength, signedAt, expiresAt] = [
    number(tags, "l", 76),
    number(tags, "t", 12),
    number(tags, "x", 12),
  ];
  if (signedAt !== undefined && expiresAt !== undefined && expiresAt <= signedAt) {
    throw new SignatureError("signature syntax error: it expires before it was made");
  }
  return {
    ...readKeyTags(tags),
    headerCanonicalization: canonicalization(header),
    bodyCanonicalization: canonicalization(body),
    names,
    bodyHash,
    ...(bodyLength !== undefined && { bodyLength }),
    ...(signedAt !== undefined && { signedAt }),
    ...(expiresAt !== undefined && { expiresAt }),
  };
}

/** What tells the key, and what is to be verified with it. */
export type KeyTags = Pick<SignatureTags, "algorithm" | "domain" | "selector" | "signature">;

/**
 * Reads `a=`, `d=`, `s=` and `b=`.
 * @throws {SignatureError} where they say nothing
 */
export function readKeyTags(tags: Tags): KeyTags {
  const algorithm = required(tags, "a").toLowerCase();
  if (algorithm === "rsa-sha1") throw new SignatureError("rsa-sha1 is no longer accepted (RFC 8301)");
  if (algorithm !== "rsa-sha256" && algorithm !== "ed25519-sha256") {
    throw new SignatureError("unknown algorithm");
  }
  const signature = readBase64(tags, "b");
  return { algorithm, domain: readDomain(tags, "d"), selector: readDomain(tags, "s"), signature };
}

/** The value of a tag that must be there. */
function required(tags: Tags, name: string): string {
  const value = tags.get(name);
  if (value === undefined || value === "") {
    throw new SignatureError(`signature missing required tag ${name}=`);
  }
  return value;
}

/**
 * Reads what an ARC-Seal says, which has a time, too (RFC 8617 §4.1.3).
 * @throws {SignatureError} where it says nothing
 */
export function readSealTags(tags: Tags): KeyTags {
  number(tags, "t", 12);
  return readKeyTags(tags);
}

function readDomain(tags: Tags, name: string): string {
  const domain = domainOf(required(tags, name));
  if (domain === undefined) throw new SignatureError(`signature syntax error in ${name}=`);
  return domain;
}

/** U-labels come as UTF-8 (RFC 8616 §4). */
function domainOf(text: string): string | undefined {
  // A trailing dot is none of the grammar.
  return text.endsWith(".") ? undefined : normalizeDomain(Buffer.from(text, "latin1").toString("utf8"));
}

/** The domain of `i=`, which must be that of `d=` or one below it. */
function readIdentity(tags: Tags, domain: string): string {
  const identity = tags.get("i");
  if (identity === undefined) return domain;
  const text = decodeQuotedPrintable(identity);
  const identityDomain = text === undefined ? undefined : domainOf(text.slice(text.lastIndexOf("@") + 1));
  if (text === undefined || !text.includes("@") || identityDomain === undefined) {
    throw new SignatureError("signature syntax error in i=");
  }
  if (`.${identityDomain}`.endsWith(`.${domain}`)) return identityDomain;
  throw new SignatureError("domain mismatch: i= is not within d=");
}

/** RFC 6376 §2.11; `undefined` for a text that is not encoded so. */
function decodeQuotedPrintable(text: string): string | undefined {
  const packed = stripSpace(text);
  if (/=(?![0-9A-F]{2})/.test(packed)) return undefined;
  return packed.replaceAll(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
}

function canonicalization(word: string): Canonicalization {
  if (word === "simple" || word === "relaxed") return word;
  throw new SignatureError("unknown canonicalization");
}

function readBase64(tags: Tags, name: string): Buffer {
  const text = stripSpace(required(tags, name));
  if (text === "" || !isBase64(text)) throw new SignatureError(`signature syntax error in ${name}=`);
  return Buffer.from(text, "base64");
}

function number(tags: Tags, name: string, digits: number): number | undefined {
  const text = tags.get(name);
  if (text === undefined) return undefined;
  if (!/^\d+$/.test(text) || text.length > digits) {
    throw new SignatureError(`signature syntax error in ${name}=`);
  }
  return Number(text);
}

function stripSpace(text: string): string {
  return text.replaceAll(/[ \t\r\n]/g, "");
}
