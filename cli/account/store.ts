/**
 * The file of accounts for the command: permissions and error messages.
 *
 * @module
 */
import { dirname } from "@std/path";
import { type Account, AccountsError } from "../../accounts/account.ts";
import { readAccounts } from "../../accounts/account_file.ts";
import { type AccountsChange, AccountsLockedError, changeAccounts } from "../../accounts/account_store.ts";
import type { Config } from "../../config/config.ts";
import { ConfigError } from "../../config/errors.ts";
import { accountsPath } from "../../server/accounts_path.ts";
import { CommandError, EXIT } from "../../server/exit_codes.ts";
import { prepareDataDir } from "../../server/parts.ts";
import { OpenPathError } from "../../storage/path_owner.ts";
import { isFull, StorageError } from "../../storage/storage_error.ts";
import { errorText } from "../../base/error_text.ts";
import { becomeOwner } from "../../server/become_account.ts";
import { serviceAccount } from "../command_line/service_account.ts";

/** The accounts of a configuration. */
export class AccountStore {
  readonly #path: string;
  readonly #fresh: { readonly mode: number; readonly gid?: number };

  private constructor(path: string, fresh: { readonly mode: number; readonly gid?: number }) {
    this.#path = path;
    this.#fresh = fresh;
  }

  /**
   * Finds the file. Root switches to the account that could redirect its path, for the rest of the command.
   * @throws {CommandError} when this account may not access it
   * @throws {ConfigError} when the accounts are Dovecot's
   */
  static async open(config: Config): Promise<AccountStore> {
    const { serveSubmit, dataDir, file } = config;
    if (serveSubmit?.dovecotSocket !== undefined) {
      const problem = "delegates accounts to Dovecot: manage them there, or remove the key";
      const value = JSON.stringify(`dovecot:${serveSubmit.dovecotSocket}`);
      throw new ConfigError(file, [{ key: "serve-submit.auth", value, problem }]);
    }
    const path = accountsPath(config);
    const directory = dirname(path);
    return await saying(path, async () => {
      const ours = serveSubmit?.accountsFile === undefined;
      if (ours && !await exists(dataDir)) await prepareDataDir(config);
      const account = await serviceAccount(config);
      await becomeOwner(directory);
      if (ours) await Deno.mkdir(directory, { mode: 0o700 }).catch(ignoreExisting);
      // A file made by root must be readable by the servers' group.
      const shared = Deno.uid() === 0 && account !== undefined;
      return new AccountStore(path, shared ? { mode: 0o640, gid: account.gid } : { mode: 0o600 });
    });
  }

  /** All accounts, by login. @throws {CommandError} */
  async read(): Promise<readonly Account[]> {
    const accounts = await saying(this.#path, () => readAccounts(this.#path));
    return accounts.toSorted((a, b) => a.login < b.login ? -1 : 1);
  }

  /** Changes the accounts under a lock. @throws {CommandError} */
  async change<T>(
    change: (accounts: readonly Account[]) => Promise<AccountsChange<T>> | AccountsChange<T>,
  ): Promise<T> {
    return await saying(this.#path, () => changeAccounts(this.#path, change, { fresh: this.#fresh }));
  }
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

function ignoreExisting(error: unknown): void {
  if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
}

/** Does the work, and turns its errors into messages for the user. */
async function saying<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof CommandError || error instanceof ConfigError) throw error;
    const message = (text: string, code: CommandError["exitCode"]) =>
      new CommandError(text, code, { cause: error });
    if (error instanceof AccountsError) {
      throw message(
        `${path}: ${error.message}. Restore it from a backup, or remove it and add the accounts again`,
        EXIT.data,
      );
    }
    if (error instanceof AccountsLockedError) throw message(error.message, EXIT.tryAgain);
    if (error instanceof OpenPathError) throw message(`${path}: ${error.message}`, EXIT.noPermission);
    if (isDenied(error)) {
      throw message(
        `this account may not access ${path}: run this as root, or as the account of serve-submit`,
        EXIT.noPermission,
      );
    }
    if (isFull(error)) throw message(`${path}: ${errorText(error)}`, EXIT.tryAgain);
    if (error instanceof StorageError || (error as { code?: unknown } | null)?.code !== undefined) {
      throw message(`${path}: ${errorText(error)}`, EXIT.unavailable);
    }
    throw error;
  }
}

function isDenied(error: unknown): boolean {
  if (error instanceof Deno.errors.PermissionDenied) return true;
  const code = error instanceof StorageError ? error.code : (error as { code?: unknown } | null)?.code;
  return code === "EACCES" || code === "EPERM";
}
