/**
 * From the configuration to the parts that several commands need. What stands in their way is said in the words of
 * the configuration.
 *
 * @module
 */
import type { Config } from "../config/config.ts";
import { ConfigError } from "../config/errors.ts";
import { checkMailboxes, Mailboxes, type MailboxesOptions } from "../maildir/mailboxes.ts";
import { type ListenAddress, listenAddresses, ListenError } from "../net/interfaces.ts";
import { type Log, startLog } from "../observe/logger.ts";
import { CommandError, EXIT } from "./exit_codes.ts";
import type { Io } from "./io.ts";

/**
 * Who is local.
 * @throws {ConfigError} with everything that is wrong with it
 */
export function openMailboxes(config: Config): Mailboxes {
  const options: MailboxesOptions = { ...config.mailboxes, domains: config.serveIn.domains };
  const problems = checkMailboxes(options);
  if (problems.length === 0) return new Mailboxes(options);
  throw new ConfigError(
    config.file,
    problems.map(({ key, value, problem }) => ({
      key,
      problem,
      ...(value !== "" && { value: JSON.stringify(value) }),
    })),
  );
}

/**
 * The addresses that serve-in listens on.
 * @throws {CommandError} when there are none
 */
export function listenAddressesOf(config: Config): readonly ListenAddress[] {
  try {
    return listenAddresses(config.serveIn.listen);
  } catch (error) {
    if (!(error instanceof ListenError)) throw error;
    throw new CommandError(`[serve-in] ${error.message}`, EXIT.config, { cause: error });
  }
}

/**
 * Starts the log that the configuration wants.
 * @throws {CommandError} when its file cannot be opened
 */
export function openLog(config: Config, io: Io): Log {
  const { level, format, file = "" } = config.log;
  try {
    return startLog({ level, format, file, isTerminal: io.isTerminal });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const denied = error instanceof Deno.errors.PermissionDenied;
    throw new CommandError(
      `[log] file = ${JSON.stringify(file)}: ${reason}`,
      denied ? EXIT.noPermission : EXIT.config,
      { cause: error },
    );
  }
}

/**
 * Makes the data directory if it is not there, for this account only.
 * @throws {CommandError} when it is not to be had, or not writable
 */
export async function prepareDataDir({ dataDir }: Config): Promise<void> {
  try {
    await Deno.mkdir(dataDir, { recursive: true, mode: 0o750 });
    const probe = await Deno.makeTempFile({ dir: dataDir, prefix: ".probe-" });
    await Deno.remove(probe);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const denied = error instanceof Deno.errors.PermissionDenied;
    throw new CommandError(
      `data_dir = ${
        JSON.stringify(dataDir)
      }: ${reason}. The account that runs mailapp must be able to write there`,
      denied ? EXIT.noPermission : EXIT.config,
      { cause: error },
    );
  }
}
