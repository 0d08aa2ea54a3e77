/**
 * The configuration argument for suggested commands.
 *
 * @module
 */
import { DEFAULT_CONFIG_FILE } from "../../config/load.ts";
import { shellWord } from "../../base/shell_word.ts";

/** The text to append to the command; empty if it finds the file by itself. */
export function configArgument(file: string | undefined): string {
  return file === undefined || file === DEFAULT_CONFIG_FILE ? "" : ` --config ${shellWord(file)}`;
}
