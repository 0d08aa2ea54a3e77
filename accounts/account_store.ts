/**
 * Changes to the file of accounts: one after the other, each whole or not at all.
 *
 * @module
 */
import { dirname } from "node:path";
import { systemClock } from "../base/clock.ts";
import { DirectorySyncer } from "../storage/directory_syncer.ts";
import { NewFile } from "../storage/new_file.ts";
import { type Account, formatAccounts } from "./account.ts";
import { readAccounts } from "./account_file.ts";

/** Another process changes the file, and does not come to an end. */
export class AccountsLockedError extends Error {
  override readonly name = "AccountsLockedError";
}

/** What happens to the accounts, and what to hand back. */
export interface AccountsChange<T> {
  /** All accounts from now on; absent: as they are. */
  readonly accounts?: readonly Account[];
  /** For the caller. */
  readonly result: T;
}

/** What a change depends on. */
export interface ChangeOptions {
  /** Mode and group of a file that is made; where there is one, its own stay, without rights for everyone. */
  readonly fresh: { readonly mode: number; readonly gid?: number };
  /** How long to wait for another process, in milliseconds; 10 seconds if absent. */
  readonly timeout?: number;
}

const TIMEOUT = 10_000;
const TRY_AGAIN = 50;
const MODE = 0o770;

/**
 * Changes the accounts of a file under a lock, durably; its directory must be there.
 * @throws {AccountsLockedError}
 * @throws {AccountsError} when the file is damaged
 * @throws {StorageError} when it cannot be written
 */
export async function changeAccounts<T>(
  path: string,
  change: (accounts: readonly Account[]) => Promise<AccountsChange<T>> | AccountsChange<T>,
  options: ChangeOptions,
): Promise<T> {
  const directory = dirname(path);
  // The file itself is replaced, which would take a lock on it along.
  using _lock = await lock(directory, options.timeout ?? TIMEOUT);
  const { accounts, result } = await change(await readAccounts(path));
  if (accounts === undefined) return result;
  const { mode, uid, gid } = await rightsOf(path, options.fresh);
  const file = await NewFile.createAnew(`${path}.new`, { mode: 0o600 });
  try {
    if (gid !== undefined) await Deno.chown(file.path, uid ?? null, gid);
    await Deno.chmod(file.path, mode);
    await file.write(new TextEncoder().encode(formatAccounts(accounts)));
    await file.finish();
    await file.publish(path);
    await new DirectorySyncer().sync(directory);
  } finally {
    await file.discard();
  }
  return result;
}

async function lock(directory: string, timeout: number): Promise<Disposable> {
  using opened = new DisposableStack();
  const file = opened.use(await Deno.open(directory));
  const until = systemClock.monotonic() + timeout;
  while (!await file.tryLock(true)) {
    if (systemClock.monotonic() > until) {
      throw new AccountsLockedError(`${directory} is locked by another process; try again`);
    }
    await new Promise((resolve) => setTimeout(resolve, TRY_AGAIN));
  }
  return opened.move();
}

interface Rights {
  readonly mode: number;
  readonly uid?: number;
  readonly gid?: number;
}

async function rightsOf(path: string, fresh: ChangeOptions["fresh"]): Promise<Rights> {
  const info = await Deno.lstat(path).catch((error) => {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  });
  if (info === undefined) return fresh;
  const { mode, uid, gid } = info;
  if (info.isSymlink || uid === null || gid === null) return fresh;
  return { mode: (mode ?? fresh.mode) & MODE, uid, gid };
}
