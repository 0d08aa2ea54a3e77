/**
 * Public keys as signers publish them in DNS (RFC 6376 §3.6, RFC 8301, RFC 8463).
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Memo } from "../base/memo.ts";
import type { DkimAlgorithm } from "./keys.ts";
import { bitLength, readRsaKey } from "./rsa_key.ts";
import { COMMON_EXPONENT, RsaVerifier } from "./rsa_verify.ts";
import { parseTagList } from "./tag_list.ts";

/** Shorter RSA keys never verify (RFC 8301 §3.2). */
const MIN_RSA_BITS = 1024;
/** Longer ones need not be verified (RFC 8301 §3.2). */
const MAX_RSA_BITS = 4096;
/** With longer keys, and over more octets, signatures are verified in another thread. */
const MAX_BITS_HERE = 2048;
const MAX_OCTETS_HERE = 16 * 1024;
/** The largest exponent that the platform verifies with. */
const MAX_EXPONENT = 2n ** 33n - 1n;
/** Octets of a key in DER that are looked at; one of 4096 bits has 550. */
const MAX_DER = 2048;
const ED25519_OCTETS = 32;
/** Words in a list of a record that are looked at. */
const MAX_WORDS = 100;
const HASH = "sha256";
const RSA = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };

/** A key record that can verify signatures of one algorithm. */
export interface DkimPublicKey {
  /** Whether the domain only tries DKIM out (`t=y`). */
  readonly testing: boolean;
  /** Whether the domain of `i=` must be that of `d=`, no subdomain (`t=s`). */
  readonly exactDomain: boolean;
  /**
   * Whether the signature is right; found out in another thread where that takes longer than going there.
   * @param data what was signed
   */
  verify(signature: Uint8Array, data: Uint8Array<ArrayBuffer>): Promise<boolean> | boolean;
}

/** Why a record is of no use, in the words of RFC 6376 §6.1.2. */
export type KeyProblem = string;

/**
 * The key in a TXT record, for signatures of this algorithm; or why it is of no use for them.
 * @param record the strings of the record, joined
 */
export async function readPublicKey(
  record: string,
  algorithm: DkimAlgorithm,
): Promise<DkimPublicKey | KeyProblem> {
  const tags = parseTagList(record, { caseSensitive: true });
  const data = tags?.get("p")?.replaceAll(/[ \t\r\n]/g, "");
  if (tags === undefined || data === undefined) return "key syntax error";
  const version = tags.get("v");
  // Where it is there it comes first (§3.6.1).
  if (version !== undefined && (version !== "DKIM1" || tags.keys().next().value !== "v")) {
    return "key syntax error";
  }
  if (!isBase64(data)) return "key syntax error";
  const hashes = listOf(tags.get("h"));
  if (hashes !== undefined && !hashes.includes(HASH)) return "inappropriate hash algorithm";
  const services = listOf(tags.get("s"));
  if (services !== undefined && !services.includes("*") && !services.includes("email")) {
    return "key not for email";
  }
  if (data === "") return "key revoked";
  const kind = tags.get("k")?.toLowerCase() ?? "rsa";
  if (kind !== (algorithm === "rsa-sha256" ? "rsa" : "ed25519")) return "inappropriate key algorithm";
  const verify = await importKey(data, algorithm);
  if (typeof verify === "string") return verify;
  const flags = listOf(tags.get("t")) ?? [];
  return { testing: flags.includes("y"), exactDomain: flags.includes("s"), verify };
}

type Verify = DkimPublicKey["verify"];

// Of the largest RSA key, with what the crypto library makes of it.
const OCTETS_OF_A_KEY = 4096;

/** Keys that were imported before, by algorithm and record: importing costs as much as a short verification. */
const imported = new Memo<Verify | KeyProblem>({ maxOctets: 4 * 1024 ** 2, sizeOf: () => OCTETS_OF_A_KEY });

async function importKey(data: string, algorithm: DkimAlgorithm): Promise<Verify | KeyProblem> {
  const name = `${algorithm} ${data}`;
  const known = imported.get(name);
  if (known !== undefined) return known;
  const bytes = Buffer.from(data, "base64");
  return imported.keep(
    name,
    algorithm === "rsa-sha256" ? await importRsa(bytes) : await importEd25519(bytes),
  );
}

async function importRsa(der: Buffer): Promise<Verify | KeyProblem> {
  if (der.length > MAX_DER) return `key of more than ${MAX_RSA_BITS} bits`;
  const numbers = readRsaKey(der);
  if (numbers === undefined) return "key syntax error";
  const bits = bitLength(numbers.modulus);
  if (bits < MIN_RSA_BITS || bits > MAX_RSA_BITS) return `key of ${bits} bits`;
  // The platform takes such keys, and throws at the first signature.
  if (!isOdd(numbers.modulus) || !isUsableExponent(numbers.exponent)) return "key syntax error";
  const [n, e] = [numbers.modulus.toString("base64url"), numbers.exponent.toString("base64url")];
  let key: CryptoKey;
  try {
    key = await crypto.subtle.importKey("jwk", { kty: "RSA", n, e }, RSA, false, ["verify"]);
  } catch {
    return "key syntax error";
  }
  const elsewhere: Verify = (signature, data) =>
    holds(() => crypto.subtle.verify(RSA, key, Uint8Array.from(signature), data));
  if (bits > MAX_BITS_HERE || !numbers.exponent.equals(COMMON_EXPONENT)) return elsewhere;
  const verifier = new RsaVerifier(numbers.modulus);
  return (signature, data) =>
    data.length <= MAX_OCTETS_HERE ? verifier.verify(signature, data) : elsewhere(signature, data);
}

async function importEd25519(bytes: Buffer): Promise<Verify | KeyProblem> {
  if (bytes.length !== ED25519_OCTETS) return "key syntax error";
  let key: CryptoKey;
  try {
    key = await crypto.subtle.importKey("raw", Uint8Array.from(bytes), "Ed25519", false, ["verify"]);
  } catch {
    return "key syntax error";
  }
  // The hash is what is signed (RFC 8463 §3).
  return async (signature, data) => {
    const hash = await crypto.subtle.digest("SHA-256", data);
    return await holds(() => crypto.subtle.verify("Ed25519", key, Uint8Array.from(signature), hash));
  };
}

/** Whether a signature is right. Where the platform cannot use the key it is not; the message must not suffer for it. */
async function holds(verify: () => Promise<boolean>): Promise<boolean> {
  try {
    return await verify();
  } catch {
    return false;
  }
}

function isOdd(number: Buffer): boolean {
  return ((number.at(-1) ?? 0) & 1) === 1;
}

function isUsableExponent(exponent: Buffer): boolean {
  if (!isOdd(exponent) || exponent.length > 8) return false;
  const number = BigInt(`0x${exponent.toString("hex")}`);
  return number > 1n && number <= MAX_EXPONENT;
}

/** The words of a colon-separated list, in lower case. */
function listOf(text: string | undefined): string[] | undefined {
  return text?.split(":", MAX_WORDS).map((word) => word.replaceAll(/[ \t\r\n]/g, "").toLowerCase());
}

/** Whether the text, without white space, is base64; with its padding or without. */
export function isBase64(text: string): boolean {
  return /^[A-Za-z0-9+/]*={0,2}$/.test(text);
}
