/**
 * SCRAM-SHA-256 (RFC 5802, RFC 7677): the client proves that it knows the password without sending it, and the server
 * that it knows the account. Without channel binding, which the TLS of this platform does not offer.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";
import type { SaslExchange, SaslStep } from "../smtp/authenticator.ts";
import {
  type Credentials,
  type Guard,
  type PasswordVerdict,
  type ScramAccount,
  type ScramKeys,
  stepOf,
  unguarded,
} from "./credentials.ts";
import { prepareLogin } from "./prepare.ts";
import { decodeUtf8 } from "./utf8.ts";

const EMPTY = new Uint8Array(0);

/** Octets of a client's nonce that are taken; ours adds 24 characters. */
const MAX_NONCE = 256;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
// RFC 5802 §7: a saslname has "," and "=" as =2C and =3D, and no NUL.
const CLIENT_FIRST =
  /^([ny]|p=[A-Za-z0-9.-]+),(?:a=((?:[^,=\0]|=2C|=3D)+))?,(n=((?:[^,=\0]|=2C|=3D)+),r=([!-+\--~]+)(?:,[A-Za-z]=[^,\0]+)*)$/u;
const CLIENT_FINAL = /^(c=([A-Za-z0-9+/=]+),r=([!-+\--~]+)(?:,[A-Za-z]=[^,\0]+)*),p=([A-Za-z0-9+/=]+)$/u;

const MALFORMED: SaslStep = { kind: "failure", reason: "malformed", why: "not of the mechanism's form" };

/** SHA-256 is what the server offers; with SHA-1 the example of RFC 5802 can be followed. */
export type ScramHash = "sha256" | "sha1";

/** Octets of a hash. */
const OCTETS: Readonly<Record<ScramHash, number>> = { sha256: 32, sha1: 20 };

/** What an exchange depends on. */
export interface ScramOptions {
  /** That of the account's keys; default: sha256. */
  readonly hash?: ScramHash;
  /** Makes a nonce: printable ASCII without a comma. Default: 18 random octets in base64. Tests inject it. */
  readonly nonce?: () => string;
  /** Says when the proof may be checked. */
  readonly guard?: Guard;
}

/** One exchange. */
export class ScramExchange implements SaslExchange {
  readonly #credentials: Credentials;
  readonly #hash: ScramHash;
  readonly #nonce: () => string;
  readonly #guard: Guard;
  #step: (response: Uint8Array) => Promise<SaslStep> | SaslStep = (response) => this.#first(response);
  #gs2Header = "";
  #authMessage = "";
  #fullNonce = "";
  #account: ScramAccount | undefined;

  /** Checks against `credentials`, which must have SCRAM keys. */
  constructor(credentials: Credentials, options: ScramOptions = {}) {
    this.#credentials = credentials;
    this.#hash = options.hash ?? "sha256";
    this.#nonce = options.nonce ?? (() => randomBytes(18).toString("base64"));
    this.#guard = options.guard ?? unguarded;
  }

  async next(response: Uint8Array | undefined): Promise<SaslStep> {
    if (response === undefined) return { kind: "challenge", data: EMPTY };
    return await this.#step(response);
  }

  async #first(response: Uint8Array): Promise<SaslStep> {
    const [, binding = "", authorization, bare = "", name = "", clientNonce = ""] =
      CLIENT_FIRST.exec(decodeUtf8(response) ?? "") ?? [];
    if (bare === "" || clientNonce.length > MAX_NONCE) return MALFORMED;
    // "p": the client wants to bind the channel, which only a -PLUS mechanism may (§6).
    if (binding.startsWith("p")) return MALFORMED;
    const login = prepareLogin(unescapeName(name));
    if (login === undefined) {
      return { kind: "failure", reason: "credentials", why: "the login has characters that none has" };
    }
    if (authorization !== undefined && prepareLogin(unescapeName(authorization)) !== login) {
      return { kind: "failure", reason: "credentials", login, why: "asked to act for another account" };
    }
    const account = await this.#credentials.scram?.(login);
    if (account === undefined) {
      return { kind: "failure", reason: "temporary", login, why: "the accounts cannot be read" };
    }
    this.#account = account;
    this.#fullNonce = clientNonce + this.#nonce();
    this.#gs2Header = `${binding},${authorization === undefined ? "" : `a=${authorization}`},`;
    const salt = Buffer.from(account.salt).toString("base64");
    const serverFirst = `r=${this.#fullNonce},s=${salt},i=${account.iterations}`;
    this.#authMessage = `${bare},${serverFirst}`;
    this.#step = (final) => this.#final(final);
    return { kind: "challenge", data: Buffer.from(serverFirst) };
  }

  async #final(response: Uint8Array): Promise<SaslStep> {
    const [, withoutProof = "", binding = "", nonce, proofText = ""] =
      CLIENT_FINAL.exec(decodeUtf8(response) ?? "") ?? [];
    const account = this.#account;
    if (withoutProof === "" || account === undefined || !BASE64.test(proofText)) return MALFORMED;
    const proof = Buffer.from(proofText, "base64");
    const isWhole = proof.length === OCTETS[this.#hash];
    if (binding !== Buffer.from(this.#gs2Header).toString("base64") || !isWhole) return MALFORMED;
    const { login } = account;
    if (nonce !== this.#fullNonce) {
      return { kind: "failure", reason: "credentials", login, why: "the nonce is not of this exchange" };
    }
    const authMessage = `${this.#authMessage},${withoutProof}`;
    let signature: string | undefined;
    const verdict = await this.#guard({ login }, () => {
      const found = findKeys(account, { proof, authMessage, hash: this.#hash });
      if ("kind" in found) return found;
      signature = hmac(this.#hash, found.serverKey, authMessage).toString("base64");
      return { kind: "right", login };
    });
    if (signature === undefined) return stepOf(verdict, login);
    // RFC 4954 §4: what comes with success goes as one more challenge, answered by an empty line.
    this.#step = (empty) => empty.length === 0 ? { kind: "success", login } : MALFORMED;
    return { kind: "challenge", data: Buffer.from(`v=${signature}`) };
  }
}

/** The keys that the proof is of, or that it is of none. */
function findKeys(account: ScramAccount, final: ClientFinal): ScramKeys | PasswordVerdict {
  // As much work whether or not there are keys.
  const none = { storedKey: new Uint8Array(OCTETS[final.hash]), serverKey: EMPTY };
  const keys = account.keys.length > 0 ? account.keys : [none];
  const [right] = keys.filter((candidate) => proves(final, candidate));
  if (right !== undefined && right !== none) return right;
  if (account.keys.length > 0) return { kind: "wrong", why: "wrong password" };
  return { kind: "wrong", why: account.why ?? "unknown or disabled account" };
}

interface ClientFinal {
  readonly proof: Buffer;
  readonly authMessage: string;
  readonly hash: ScramHash;
}

/** Whether the proof is of who knows the password (RFC 5802 §3). */
function proves({ proof, authMessage, hash }: ClientFinal, { storedKey }: ScramKeys): boolean {
  const signature = hmac(hash, storedKey, authMessage);
  const clientKey = proof.map((byte, i) => byte ^ (signature[i] ?? 0));
  return timingSafeEqual(createHash(hash).update(clientKey).digest(), storedKey);
}

function hmac(hash: ScramHash, key: Uint8Array, text: string): Buffer {
  return createHmac(hash, key).update(text).digest();
}

function unescapeName(name: string): string {
  return name.replaceAll("=2C", ",").replaceAll("=3D", "=");
}

const derive = promisify(pbkdf2);

/**
 * The keys that the server keeps of a password (RFC 5802 §3).
 * @param password prepared (RFC 8265)
 */
export async function deriveScramKeys(
  password: string,
  { salt, iterations, hash = "sha256" }: {
    readonly salt: Uint8Array;
    readonly iterations: number;
    readonly hash?: ScramHash;
  },
): Promise<ScramKeys> {
  const salted = await derive(password, salt, iterations, OCTETS[hash], hash);
  const storedKey = createHash(hash).update(hmac(hash, salted, "Client Key")).digest();
  return {
    storedKey: new Uint8Array(storedKey),
    serverKey: new Uint8Array(hmac(hash, salted, "Server Key")),
  };
}
