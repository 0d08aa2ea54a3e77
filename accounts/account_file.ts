/**
 * The file of accounts as a server reads it: reread while it runs, and never worse than before.
 *
 * @module
 */
import type { Clock } from "../base/clock.ts";
import { errorText } from "../base/error_text.ts";
import type { Logger } from "../base/log.ts";
import { normalizeDomain } from "../net/domain_name.ts";
import { type Account, AccountsError, parseAccountsInSlices } from "./account.ts";

/** Octets; what is larger is not a file of accounts. */
const MAX_SIZE = 64 * 1024 * 1024;
/** How long one check of the file counts, in milliseconds. */
const RECHECK_AFTER = 1_000;
const OTHERS = 0o007;

/** What it needs. */
export interface AccountFileOptions {
  /** Says when to check again. */
  readonly clock: Clock;
  /** Told when the file cannot be used (`accounts.kept`), and of what was read (`accounts.read`). */
  readonly logger: Logger;
}

/**
 * The one spelling of a login that is a mailbox address, prepared (RFC 8265): its domain as A-labels, without a
 * trailing dot, as the domains of the configuration are.
 */
export function spellLogin(login: string): string {
  const at = login.lastIndexOf("@");
  const domain = at === -1 ? undefined : normalizeDomain(login.slice(at + 1));
  return domain === undefined ? login : `${login.slice(0, at)}@${domain}`;
}

/**
 * Reads the accounts of a file; none where it is not there.
 * @throws {AccountsError} when the file is damaged, or something else
 * @throws {Error} when it cannot be read
 */
export async function readAccounts(path: string): Promise<readonly Account[]> {
  return (await read(path)).accounts;
}

/** The accounts of a file. */
export class AccountFile {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #logger: Logger;
  #accounts: ReadonlyMap<string, Account> = new Map();
  #secret: Uint8Array | undefined;
  #version = "";
  #checkedAt: number;
  /** The check in progress. */
  #checking: Promise<void> | undefined;

  private constructor(path: string, { clock, logger }: AccountFileOptions) {
    this.#path = path;
    this.#clock = clock;
    this.#logger = logger;
    this.#checkedAt = clock.monotonic();
  }

  /**
   * Reads the file. Where it is not there yet there are no accounts until it is.
   * @throws as {@linkcode readAccounts}
   */
  static async open(path: string, options: AccountFileOptions): Promise<AccountFile> {
    const file = new AccountFile(path, options);
    file.#version = await versionOf(path);
    file.#take(await read(path));
    return file;
  }

  /** How many accounts there are. */
  get size(): number {
    return this.#accounts.size;
  }

  /**
   * A key of the oldest account that has a password: a secret that stays the same over restarts, and until that password
   * is changed. None where no account has a password.
   */
  get secret(): Uint8Array | undefined {
    return this.#secret;
  }

  /** The account of a login, as the file has it now or had it last while it could be read. */
  async find(login: string): Promise<Account | undefined> {
    if (this.#clock.monotonic() - this.#checkedAt >= RECHECK_AFTER) {
      await (this.#checking ??= this.#check().finally(() => this.#checking = undefined));
    }
    return this.#accounts.get(spellLogin(login));
  }

  async #check(): Promise<void> {
    const version = await versionOf(this.#path);
    if (version !== this.#version) {
      try {
        this.#take(await read(this.#path, { mustExist: this.#accounts.size > 0 }));
      } catch (error) {
        this.#logger.error("accounts.kept", {
          path: this.#path,
          error: errorText(error),
          accounts: this.#accounts.size,
        });
      }
      this.#version = version;
    }
    this.#checkedAt = this.#clock.monotonic();
  }

  #take({ accounts, mode }: ReadFile): void {
    this.#accounts = new Map(accounts.map((account) => [account.login, account]));
    let oldest: Account | undefined;
    for (const account of accounts) {
      if (account.passwords.length === 0) continue;
      if (oldest === undefined || account.created < oldest.created) oldest = account;
    }
    this.#secret = oldest?.passwords[0]?.scram.serverKey;
    const others = (mode & OTHERS) !== 0;
    this.#logger.info("accounts.read", { path: this.#path, accounts: accounts.length });
    if (others) this.#logger.warn("accounts.exposed", { path: this.#path, action: `chmod o= ${this.#path}` });
  }
}

/** Changes whenever another file, or another content, stands behind the path. */
async function versionOf(path: string): Promise<string> {
  try {
    const { dev, ino, mtime, ctime, size } = await Deno.stat(path);
    return [dev, ino, mtime?.getTime(), ctime?.getTime(), size].join(" ");
  } catch (error) {
    return errorText(error);
  }
}

interface ReadFile {
  readonly accounts: readonly Account[];
  readonly mode: number;
}

async function read(path: string, { mustExist = false } = {}): Promise<ReadFile> {
  let file: Deno.FsFile;
  try {
    // To open a pipe would wait for whoever writes into it.
    if (!(await Deno.stat(path)).isFile) throw new AccountsError("it is not a file");
    file = await Deno.open(path);
  } catch (error) {
    if (!mustExist && error instanceof Deno.errors.NotFound) return { accounts: [], mode: 0 };
    throw error;
  }
  using opened = file;
  const { isFile, size, mode } = await opened.stat();
  if (!isFile || size > MAX_SIZE) throw new AccountsError(isFile ? "it is too large" : "it is not a file");
  return { accounts: await parseAccountsInSlices(await readText(opened, size)), mode: mode ?? 0 };
}

/** The whole text, which another process may be writing: no more than it had at first. */
async function readText(file: Deno.FsFile, size: number): Promise<string> {
  const bytes = new Uint8Array(size);
  let length = 0;
  while (length < size) {
    const octets = await file.read(bytes.subarray(length));
    if (octets === null) break;
    length += octets;
  }
  return new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, length));
}
