/**
 * What serve-submit checks logins against: the accounts of a file, or Dovecot.
 *
 * @module
 */
import { AccountCredentials } from "../accounts/account_credentials.ts";
import { AccountFile } from "../accounts/account_file.ts";
import { HashingThread, startHashingThread } from "../accounts/hashing_thread.ts";
import { HASHER } from "../accounts/hashing_worker.ts";
import { systemClock } from "../base/clock.ts";
import { errorText } from "../base/error_text.ts";
import type { Logger } from "../base/log.ts";
import type { Config } from "../config/config.ts";
import { DovecotAuth } from "../sasl/dovecot_auth.ts";
import { LoginThrottle } from "../sasl/login_throttle.ts";
import { SaslAuthenticator } from "../sasl/mod.ts";
import type { Authenticator } from "../smtp/authenticator.ts";
import { accountsPath } from "./accounts_path.ts";
import { CommandError, EXIT } from "./exit_codes.ts";
import type { Grants } from "./grants.ts";
import { programFiles, threadModule } from "./threads.ts";

/** Concurrent checks for clients without a recent login. Dovecot delays failures by two seconds. */
const AT_ONCE = { ours: 2, dovecot: 20 } as const;

/** The grants for checking logins: the file of accounts and the modules of the hashing thread, or Dovecot's socket. */
export function loginGrants(
  config: Config,
): Pick<Grants, "read" | "write"> & { readonly net: readonly string[] } {
  const socket = config.serveSubmit?.dovecotSocket;
  if (socket === undefined) return { net: [], read: [accountsPath(config), ...programFiles()], write: [] };
  // A Unix socket is connected to by reading and writing its path.
  return { net: [`unix:${socket}`], read: [socket], write: [socket] };
}

/** Checks logins until it is disposed. */
export interface OpenAuthenticator extends Disposable {
  /** For the SMTP server. */
  readonly authenticator: Authenticator;
}

/**
 * Opens the accounts, or the connection to Dovecot, with a delay for clients that guess passwords.
 * @param options `entry`: the module that every thread of the program begins with
 * @throws {CommandError} when the file of accounts cannot be used
 */
export async function openAuthenticator(
  config: Config,
  { logger, entry }: { readonly logger: Logger; readonly entry: string },
): Promise<OpenAuthenticator> {
  const clock = systemClock;
  using opened = new DisposableStack();
  const socket = config.serveSubmit?.dovecotSocket;
  if (socket !== undefined) {
    const throttle = opened.use(new LoginThrottle({ clock, logger, atOnce: AT_ONCE.dovecot }));
    const dovecot = opened.use(new DovecotAuth({ path: socket, clock }));
    const authenticator = new SaslAuthenticator((origin) => dovecot.credentialsFor(origin), {
      scram: false,
      throttle,
    });
    return opensUntilDisposed(authenticator, opened.move());
  }
  const file = await openFile(accountsPath(config), logger);
  const throttle = opened.use(new LoginThrottle({ clock, logger, atOnce: AT_ONCE.ours }));
  const hasher = opened.use(new HashingThread(() => startHashingThread(threadModule(entry, HASHER))));
  hasher.begin();
  const credentials = new AccountCredentials({
    find: (login) => file.find(login),
    secret: () => file.secret,
    hasher,
    clock,
  });
  return opensUntilDisposed(
    new SaslAuthenticator(() => credentials, { scram: true, throttle }),
    opened.move(),
  );
}

function opensUntilDisposed(authenticator: Authenticator, opened: DisposableStack): OpenAuthenticator {
  return { authenticator, [Symbol.dispose]: () => opened.dispose() };
}

async function openFile(path: string, logger: Logger): Promise<AccountFile> {
  try {
    return await AccountFile.open(path, { clock: systemClock, logger });
  } catch (error) {
    throw new CommandError(`${path}: the accounts cannot be read: ${errorText(error)}`, EXIT.config, {
      cause: error,
    });
  }
}
