/**
 * The spool of a configuration.
 *
 * @module
 */
import { join } from "@std/path";
import type { Config } from "../config/config.ts";
import type { Logger } from "../base/log.ts";
import { Spool } from "../relay/spool/spool.ts";
import { SpoolLockedError, SpoolPathError, SpoolVersionError } from "../relay/spool/directory.ts";
import { systemBoot } from "./boot.ts";
import { CommandError, EXIT } from "./exit_codes.ts";

// A server that starts or stops, or a short `mailapp queue`, locks the spool for a moment.
const MAX_TRIES = 20;
const RETRY_AFTER = 50;

/** The spool's directory. */
export function spoolDirectory({ dataDir }: Config): string {
  return join(dataDir, "spool");
}

/**
 * Opens the spool for exclusive use.
 * @param options `boot`: as {@linkcode systemBoot} tells, for a server that may not ask; `current`: the configuration in
 * use, where a reload can replace it; `intakeThreads`: other threads that take messages
 * @throws {CommandError} when another process has it open, or it cannot be opened
 */
export async function openSpool(
  config: Config,
  { logger, boot = systemBoot(), current = () => config, intakeThreads = 0 }: {
    readonly logger: Logger;
    readonly boot?: string | undefined;
    readonly current?: () => Config;
    readonly intakeThreads?: number;
  },
): Promise<Spool> {
  const directory = spoolDirectory(config);
  const resendAfter = () => current().serveOut.retryMs[0] ?? 60_000;
  try {
    return await Spool.open({ directory, logger, resendAfter, boot, intakeThreads });
  } catch (error) {
    if (error instanceof SpoolLockedError) throw lockedBy(error, directory);
    const denied = error instanceof Deno.errors.PermissionDenied;
    const wrong = error instanceof SpoolVersionError || error instanceof SpoolPathError;
    if (!denied && !wrong) throw error;
    const message = denied
      ? `${error.message}. All in ${directory} must belong to the account of serve-out; mailapp doctor shows what does not`
      : error.message;
    throw new CommandError(message, denied ? EXIT.noPermission : EXIT.config, { cause: error });
  }
}

/** What is to be said where another process has the spool. */
export function lockedBy(error: SpoolLockedError, directory: string): CommandError {
  const holder = error.pid === undefined ? "another process" : `process ${error.pid}`;
  const message = `${holder} has the spool ${directory}: only one serve-out can run on it`;
  return new CommandError(message, EXIT.unavailable, { cause: error });
}

/**
 * Does what needs the spool; retries for a second while another process has it.
 * @param wait waits the given number of milliseconds
 * @throws {CommandError} caused by a {@linkcode SpoolLockedError}, when that process keeps it; what else `work` throws
 */
export async function untilUnlocked<T>(
  work: () => Promise<T>,
  wait: (ms: number) => Promise<void> = sleep,
): Promise<T> {
  for (let tries = 1;; tries++) {
    try {
      return await work();
    } catch (error) {
      const locked = error instanceof CommandError && error.cause instanceof SpoolLockedError;
      if (!locked || tries === MAX_TRIES) throw error;
    }
    await wait(RETRY_AFTER);
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, ms));
}
