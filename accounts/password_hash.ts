/**
 * Passwords as they are stored: argon2id (RFC 9106) in the PHC string format, with the parameters that OWASP names as
 * the least (19 MiB, 2 passes, 1 lane). One takes 0.2 s of processor time, so a server hashes in its own thread.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { randomBytes, timingSafeEqual } from "node:crypto";
import { argon2id } from "hash-wasm";

/** Hashes and checks passwords, which come prepared (RFC 8265). */
export interface PasswordHasher {
  /** The PHC string of a password, under the salt of `like`, another PHC string, or under a new one. */
  hash(password: string, like?: string): Promise<string>;
  /**
   * Which of the PHC strings is that of the password; all that share salt and parameters are compared with one hash.
   * @throws {TypeError} when one is none, or its parameters are out of bounds
   */
  match(password: string, encoded: readonly string[]): Promise<string | undefined>;
}

const MEMORY = 19 * 1024; // KiB
const PASSES = 2;
const LANES = 1;

// What a file edited by hand, or written by another program, may ask for: memory in KiB, passes, lanes.
const MAX_MEMORY = 256 * 1024;
const MAX_PASSES = 16;
const MAX_LANES = 4;

const PHC =
  /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,3}),p=(\d{1,2})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})$/;

/** What a PHC string says. */
interface Encoded {
  readonly memorySize: number;
  readonly iterations: number;
  readonly parallelism: number;
  readonly salt: Uint8Array;
  readonly hash: Uint8Array;
}

/**
 * Takes a PHC string of argon2id apart.
 * @throws {TypeError} when it is none, or its parameters are out of bounds
 */
export function parseEncoded(encoded: string): Encoded {
  const [, memory, passes, lanes, salt = "", hash = ""] = PHC.exec(encoded) ?? [];
  if (memory === undefined) throw new TypeError("not an argon2id hash in PHC format");
  const memorySize = Number(memory);
  const iterations = Number(passes);
  const parallelism = Number(lanes);
  const inBounds = iterations >= 1 && iterations <= MAX_PASSES && parallelism >= 1 &&
    parallelism <= MAX_LANES && memorySize >= 8 * parallelism && memorySize <= MAX_MEMORY;
  if (!inBounds) throw new TypeError("argon2id parameters out of bounds");
  return {
    memorySize,
    iterations,
    parallelism,
    salt: Buffer.from(salt, "base64"),
    hash: Buffer.from(hash, "base64"),
  };
}

/** Hashes on the calling thread. */
export const argon2Hasher: PasswordHasher = {
  hash: (password, like) =>
    argon2id({
      password,
      salt: like === undefined ? randomBytes(16) : parseEncoded(like).salt,
      memorySize: MEMORY,
      iterations: PASSES,
      parallelism: LANES,
      hashLength: 32,
      outputType: "encoded",
    }),
  async match(password, encoded) {
    const computed = new Map<string, Uint8Array>();
    let matching: string | undefined;
    for (const candidate of encoded) {
      const { hash, ...parameters } = parseEncoded(candidate);
      const key = `${candidate.slice(0, candidate.lastIndexOf("$"))} ${hash.length}`;
      let own = computed.get(key);
      if (own === undefined) {
        own = await argon2id({ password, ...parameters, hashLength: hash.length, outputType: "binary" });
        computed.set(key, own);
      }
      if (timingSafeEqual(own, hash)) matching ??= candidate;
    }
    return matching;
  },
};

/** The hash of a random password, checked for an unknown login, so that it takes as long. */
export const UNKNOWN_LOGIN_HASH = `$argon2id$v=19$m=${MEMORY},t=${PASSES},p=${LANES}$${
  Buffer.alloc(16, 1).toString("base64").replaceAll("=", "")
}$${Buffer.alloc(32).toString("base64").replaceAll("=", "")}`;
