/**
 * How a command that we propose names the configuration.
 *
 * @module
 */
import { DEFAULT_CONFIG_FILE } from "../../config/load.ts";
import { shellWord } from "../../base/shell_word.ts";

/** What comes behind the command; nothing where it finds the file by itself. */
export function configArgument(file: string | undefined): string {
  return file === undefined || file === DEFAULT_CONFIG_FILE ? "" : ` --config ${shellWord(file)}`;
}
