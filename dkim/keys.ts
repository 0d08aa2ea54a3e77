/**
 * DKIM keys: made, loaded, checked, and told to the DNS (RFC 6376 §3.6.1, RFC 8301, RFC 8463).
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash, createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";
import { normalizePem } from "../base/text_file.ts";
import { errorText } from "../base/error_text.ts";

/** The signature algorithms in use. */
export type DkimAlgorithm = "rsa-sha256" | "ed25519-sha256";

/** Where a key is, and what for. */
export interface DkimKeySource {
  /** The domain that signs (`d=`), in lower case with A-labels. */
  readonly domain: string;
  /** The name of its record below `_domainkey` (`s=`). */
  readonly selector: string;
  /** A PEM file with the private key. */
  readonly keyFile: string;
}

/** A key that signs for a domain. */
export interface DkimKey {
  /** The domain that signs (`d=`). */
  readonly domain: string;
  /** The name of its record below `_domainkey` (`s=`). */
  readonly selector: string;
  /** The kind of signature. */
  readonly algorithm: DkimAlgorithm;
  /** Where the record of the public key belongs. */
  readonly recordName: string;
  /** What the TXT record there must say; see {@linkcode splitText}. */
  readonly record: string;
  /** Signs these bytes, in another thread. */
  sign(data: Uint8Array<ArrayBuffer>): Promise<Uint8Array>;
}

/** A key that cannot be used; the message says why and what to do, and does not name the file. */
export class DkimKeyError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "DkimKeyError";
  }
}

/** Bits of the RSA keys that are made; shorter ones are refused, and large receivers do not count them. */
const RSA_BITS = 2048;
/** Verifiers need not take longer ones (RFC 8301 §3.2). */
const MAX_RSA_BITS = 4096;
const MAX_FILE = 64 * 1024;
/** Octets of one string of a TXT record (RFC 1035 §3.3). */
const MAX_STRING = 255;

/** Makes a private key, in PEM (PKCS #8). */
export async function makeDkimKey(algorithm: DkimAlgorithm): Promise<string> {
  const { privateKey } = algorithm === "rsa-sha256"
    ? await crypto.subtle.generateKey(
      {
        name: "RSASSA-PKCS1-v1_5",
        hash: "SHA-256",
        modulusLength: RSA_BITS,
        publicExponent: new Uint8Array([1, 0, 1]),
      },
      true,
      ["sign", "verify"],
    )
    : await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]);
  const der = Buffer.from(await crypto.subtle.exportKey("pkcs8", privateKey));
  const lines = der.toString("base64").replace(/.{64}(?=.)/gs, "$&\n");
  return `-----BEGIN PRIVATE KEY-----\n${lines}\n-----END PRIVATE KEY-----\n`;
}

/**
 * Reads a key.
 * @throws {DkimKeyError} when it cannot be read, is not a key, or not one that receivers take
 */
export async function loadDkimKey(
  { domain, selector, keyFile }: DkimKeySource,
): Promise<DkimKey> {
  let pem: string;
  try {
    const stat = await Deno.stat(keyFile);
    if (!stat.isFile) throw new Error("it is not a file");
    if (stat.size > MAX_FILE) throw new Error(`it has ${stat.size} octets, which no key has`);
    pem = await Deno.readTextFile(keyFile);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotCapable) {
      throw new DkimKeyError("is outside the permissions of the running server: restart it", { cause });
    }
    const reason = errorText(cause);
    throw new DkimKeyError(`cannot be read: ${reason}`, { cause });
  }
  return await parseDkimKey(pem, { domain, selector });
}

/**
 * The key in this PEM text (PKCS #8, or PKCS #1 as opendkim-genkey writes it).
 * @throws {DkimKeyError} when it is not a key, or not one that receivers take
 */
export async function parseDkimKey(
  pem: string,
  { domain, selector }: { readonly domain: string; readonly selector: string },
): Promise<DkimKey> {
  const secret = readPrivateKey(normalizePem(pem));
  const algorithm = checkKind(secret);
  const der = toBytes(secret.export({ type: "pkcs8", format: "der" }));
  return {
    domain,
    selector,
    algorithm,
    recordName: `${selector}._domainkey.${domain}`,
    record: recordOf(secret, algorithm),
    sign: await createSign(der, algorithm),
  };
}

/** Signs with a private key (PKCS #8 in DER) of any length. */
export async function createSign(
  der: Uint8Array<ArrayBuffer>,
  algorithm: DkimAlgorithm,
): Promise<DkimKey["sign"]> {
  if (algorithm === "rsa-sha256") {
    const rsa = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
    const key = await crypto.subtle.importKey("pkcs8", der, rsa, false, ["sign"]);
    return async (data) => new Uint8Array(await crypto.subtle.sign(rsa, key, data));
  }
  const key = await crypto.subtle.importKey("pkcs8", der, "Ed25519", false, ["sign"]);
  // The hash is what is signed (RFC 8463 §3).
  return async (data) => {
    const hash = toBytes(createHash("sha256").update(data).digest());
    return new Uint8Array(await crypto.subtle.sign("Ed25519", key, hash));
  };
}

/** A text as the strings of a TXT record, each of at most 255 octets; the text must be ASCII. */
export function splitText(text: string): string[] {
  const strings: string[] = [];
  for (let at = 0; at < text.length; at += MAX_STRING) strings.push(text.slice(at, at + MAX_STRING));
  return strings;
}

function readPrivateKey(pem: string): KeyObject {
  if (/-----BEGIN (?:RSA )?PUBLIC KEY-----/.test(pem)) {
    throw new DkimKeyError("is a public key: the private one signs, the public one goes into the DNS");
  }
  if (/-----BEGIN ENCRYPTED PRIVATE KEY-----|(?<![^\n])Proc-Type:[^\n]*ENCRYPTED/.test(pem)) {
    throw new DkimKeyError("is encrypted, and a server cannot ask for a passphrase: openssl pkey removes it");
  }
  try {
    return createPrivateKey(pem);
  } catch (cause) {
    throw new DkimKeyError("is not a private key in PEM: make one with mailapp dkim new", { cause });
  }
}

function checkKind(secret: KeyObject): DkimAlgorithm {
  const { asymmetricKeyType: kind, asymmetricKeyDetails: details } = secret;
  if (kind === "ed25519") return "ed25519-sha256";
  if (kind !== "rsa") {
    throw new DkimKeyError(`is an ${kind} key: DKIM has RSA and Ed25519; make one with mailapp dkim new`);
  }
  const bits = details?.modulusLength ?? 0;
  if (bits < RSA_BITS) {
    throw new DkimKeyError(
      `has ${bits} bits, and receivers want ${RSA_BITS} (RFC 8301): make a new one with mailapp dkim new, ` +
        "publish its record, then put it here",
    );
  }
  if (bits > MAX_RSA_BITS) {
    throw new DkimKeyError(
      `has ${bits} bits, and receivers need not take more than ${MAX_RSA_BITS} (RFC 8301): ` +
        "make a new one with mailapp dkim new",
    );
  }
  return "rsa-sha256";
}

function recordOf(secret: KeyObject, algorithm: DkimAlgorithm): string {
  const publicKey = createPublicKey(secret);
  if (algorithm === "rsa-sha256") {
    const der = publicKey.export({ type: "spki", format: "der" });
    return `v=DKIM1; k=rsa; p=${Buffer.from(der).toString("base64")}`;
  }
  // The bare key, without the wrapping that tells its kind (RFC 8463 §4).
  const { x = "" } = publicKey.export({ format: "jwk" });
  return `v=DKIM1; k=ed25519; p=${Buffer.from(x, "base64url").toString("base64")}`;
}

/** A copy on memory of its own, as WebCrypto wants it. */
function toBytes(data: Uint8Array): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(data);
}
