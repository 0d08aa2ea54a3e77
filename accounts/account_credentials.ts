/**
 * Accounts as the mechanisms of SASL ask for them.
 *
 * @module
 */
import { createHmac, randomBytes } from "node:crypto";
import type { Clock } from "../base/clock.ts";
import { errorText } from "../base/error_text.ts";
import type { Credentials, PasswordVerdict, ScramAccount } from "../sasl/credentials.ts";
import type { Account } from "./account.ts";
import { type PasswordHasher, UNKNOWN_LOGIN_HASH } from "./password_hash.ts";

/** What it needs. */
export interface AccountCredentialsOptions {
  /** The account of a login, as it is stored now; rejects when the file cannot be read. */
  readonly find: (login: string) => Promise<Account | undefined>;
  /**
   * Key of the salts that unknown logins are shown. It should outlast a restart: an unknown login whose salt changes then
   * is told from a known one. Default: a key of this process.
   */
  readonly secret?: () => Uint8Array | undefined;
  /** Hashes in another thread; rejects when too many wait. */
  readonly hasher: PasswordHasher;
  readonly clock: Clock;
  /** How long a password that was right is remembered, in milliseconds. Default: five minutes. */
  readonly remember?: number;
}

const REMEMBER = 5 * 60_000;
const MAX_REMEMBERED = 10_000;

/** One that was right. */
interface Remembered {
  /** The hash it was checked against: any change of the password ends it. */
  readonly argon2id: string;
  readonly until: number;
}

/**
 * Checks passwords against accounts. A password that was right is remembered for some minutes, as an HMAC under a key
 * that this process alone has and that ends with it, and only as long as account and password stay as they are.
 */
export class AccountCredentials implements Credentials {
  readonly #options: AccountCredentialsOptions;
  readonly #key = randomBytes(32);
  /** By HMAC of login and password, the oldest first. */
  readonly #remembered = new Map<string, Remembered>();

  /** Over accounts that may change at any time. */
  constructor(options: AccountCredentialsOptions) {
    this.#options = options;
  }

  async check(login: string, password: string): Promise<PasswordVerdict> {
    const { find, hasher } = this.#options;
    try {
      const account = await find(login);
      const usable = account === undefined || account.disabled ? [] : account.passwords;
      // The account may be found by another spelling of its domain.
      const right: PasswordVerdict = { kind: "right", login: account?.login ?? login };
      const memory = this.#hmac(`${login}\0${password}`);
      if (this.#remembers(memory, usable.map(({ argon2id }) => argon2id))) return right;
      const hashes = usable.length > 0 ? usable.map(({ argon2id }) => argon2id) : [UNKNOWN_LOGIN_HASH];
      const matching = await hasher.match(password, hashes);
      if (matching !== undefined && usable.length > 0) {
        this.#remember(memory, matching);
        return right;
      }
      if (usable.length > 0) return { kind: "wrong", why: "wrong password" };
      return { kind: "wrong", why: account === undefined ? unknown(login) : DISABLED };
    } catch (error) {
      return { kind: "unavailable", why: errorText(error) };
    }
  }

  async scram(login: string): Promise<ScramAccount | undefined> {
    try {
      const account = await this.#options.find(login);
      if (account === undefined) {
        const key = this.#options.secret?.() ?? this.#key;
        const salt = createHmac("sha256", key).update(`salt\0${login}`).digest().subarray(0, 16);
        return { login, salt, iterations: 100_000, keys: [], why: unknown(login) };
      }
      const { salt, iterations, disabled, passwords } = account;
      if (disabled) return { login, salt, iterations, keys: [], why: DISABLED };
      return { login, salt, iterations, keys: passwords.map(({ scram }) => scram) };
    } catch {
      return undefined;
    }
  }

  #hmac(text: string): string {
    return createHmac("sha256", this.#key).update(text).digest("base64");
  }

  #remembers(memory: string, valid: readonly string[]): boolean {
    const remembered = this.#remembered.get(memory);
    if (remembered === undefined) return false;
    if (remembered.until > this.#options.clock.monotonic() && valid.includes(remembered.argon2id)) {
      return true;
    }
    this.#remembered.delete(memory);
    return false;
  }

  #remember(memory: string, argon2id: string): void {
    const { clock, remember = REMEMBER } = this.#options;
    if (this.#remembered.size >= MAX_REMEMBERED) {
      const [oldest] = this.#remembered.keys();
      if (oldest !== undefined) this.#remembered.delete(oldest);
    }
    this.#remembered.set(memory, { argon2id, until: clock.monotonic() + remember });
  }
}

const DISABLED = "the account is disabled";

/** For the log; many mail programs ask for a "user name", and people enter a bare one. */
function unknown(login: string): string {
  return login.includes("@")
    ? "unknown login"
    : "unknown login: it has no domain, and a login is a whole address";
}
