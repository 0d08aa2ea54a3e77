/**
 * The log as the configuration wants it.
 *
 * @module
 */
import { errorText } from "../base/error_text.ts";
import type { Config } from "../config/config.ts";
import { logDenials } from "../observe/denials.ts";
import { type Log, startLog } from "../observe/logger.ts";
import { CommandError, EXIT } from "./exit_codes.ts";
import type { Io } from "./io.ts";

/**
 * Starts the configured log, in which what Deno denies to this thread is told, too. In a file or the journal, which the
 * servers share, each line names its server.
 * @param options `server`: the server that logs; `wholeLines`: as `startLog()` takes it
 * @throws {CommandError} when its file cannot be opened
 */
export function openLog(
  config: Config,
  { isTerminal, server, toJournal = false, wholeLines = false }: Pick<Io, "isTerminal"> & {
    readonly server: string;
    readonly toJournal?: boolean;
    readonly wholeLines?: boolean;
  },
): Log {
  const { level, format, file = "" } = config.log;
  try {
    const log = startLog({
      level,
      format,
      file,
      isTerminal,
      toJournal,
      wholeLines,
      ...((file !== "" || toJournal) && { context: { server } }),
    });
    logDenials(log.logger);
    return log;
  } catch (error) {
    const reason = errorText(error);
    const denied = error instanceof Deno.errors.PermissionDenied;
    // systemd mounts paths that the unit does not name read-only.
    const hint = (error as { code?: unknown }).code === "EROFS"
      ? ". If this is a service whose unit is older than this setting: mailapp install, then start it again"
      : "";
    throw new CommandError(
      `[log] file = ${JSON.stringify(file)}: ${reason}${hint}`,
      denied ? EXIT.noPermission : EXIT.config,
      { cause: error },
    );
  }
}
