/**
 * Making passwords and what is stored of them.
 *
 * @module
 */
import { randomBytes, randomInt } from "node:crypto";
import { deriveScramKeys } from "../sasl/scram.ts";
import type { Account, StoredPassword } from "./account.ts";
import type { PasswordHasher } from "./password_hash.ts";

// RFC 7677 asks for 4,096 at least. It is what stands between a stolen file and a weak password there, and what each
// login costs the client.
const ITERATIONS = 100_000;

// Without characters that look alike: 0 O o 1 l I.
const ALPHABET = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
const GROUPS = 4;
const GROUP_LENGTH = 5;

/** A password of 20 characters in groups of five, 116 bits, such as `hk3Dp-9sTqm-Xw4bc-vR7nj`. */
export function makePassword(): string {
  const group = () =>
    Array.from({ length: GROUP_LENGTH }, () => ALPHABET[randomInt(ALPHABET.length)]).join("");
  return Array.from({ length: GROUPS }, group).join("-");
}

/** An account without a password. */
export function newAccount(login: string, now: Date): Account {
  return {
    login,
    disabled: false,
    created: now.toISOString(),
    salt: new Uint8Array(randomBytes(16)),
    iterations: ITERATIONS,
    passwords: [],
  };
}

/** What is stored of a password, which comes prepared (RFC 8265). */
export async function storePassword(
  password: string,
  options: {
    readonly account: Account;
    readonly id: string;
    readonly label: string;
    readonly now: Date;
    readonly hasher: PasswordHasher;
  },
): Promise<StoredPassword> {
  const { account, id, label, now, hasher } = options;
  const [argon2id, scram] = await Promise.all([
    hasher.hash(password, account.passwords[0]?.argon2id),
    deriveScramKeys(password, account),
  ]);
  return { id, label, created: now.toISOString(), argon2id, scram };
}
