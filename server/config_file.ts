/**
 * The error of commands that need a configuration file.
 *
 * @module
 */
import type { Config } from "../config/config.ts";
import { DEFAULT_CONFIG_FILE } from "../config/load.ts";
import { CommandError, EXIT } from "./exit_codes.ts";

/**
 * Stops a command that can do nothing with the defaults alone.
 * @param command As it was typed
 * @throws {CommandError}
 */
export function requireConfigFile({ file }: Config, command: string): void {
  if (file !== undefined) return;
  throw new CommandError(
    `there is no ${DEFAULT_CONFIG_FILE}, and ${command} needs a configuration: write a first one with mailapp init, ` +
      `or name one with --config FILE`,
    EXIT.config,
  );
}
