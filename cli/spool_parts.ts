/**
 * The spool of a configuration.
 *
 * @module
 */
import { join } from "@std/path";
import type { Config } from "../config/config.ts";
import type { Logger } from "../observe/log.ts";
import { Spool } from "../relay/spool.ts";
import { SpoolLockedError, SpoolVersionError } from "../relay/spool_directory.ts";
import { CommandError, EXIT } from "./exit_codes.ts";

/** The spool's directory. */
export function spoolDirectory({ dataDir }: Config): string {
  return join(dataDir, "spool");
}

/**
 * Opens the spool, which nobody else may have.
 * @throws {CommandError} when somebody has it, or it is not to be had
 */
export async function openSpool(config: Config, { logger }: { readonly logger: Logger }): Promise<Spool> {
  const directory = spoolDirectory(config);
  try {
    return await Spool.open({ directory, logger, resendAfter: config.serveOut.retryMs[0] ?? 60_000 });
  } catch (error) {
    if (error instanceof SpoolLockedError) {
      const holder = error.pid === undefined ? "another process" : `process ${error.pid}`;
      throw new CommandError(
        `${holder} has the spool ${directory}: only one serve-out can run on it`,
        EXIT.unavailable,
        { cause: error },
      );
    }
    const denied = error instanceof Deno.errors.PermissionDenied;
    if (!denied && !(error instanceof SpoolVersionError)) throw error;
    throw new CommandError(error.message, denied ? EXIT.noPermission : EXIT.config, { cause: error });
  }
}
