/**
 * The file of a report that somebody has sent.
 *
 * @module
 */
import { errorText } from "../../base/error_text.ts";
import { CommandError, EXIT } from "../../server/exit_codes.ts";
import { printable } from "./terminal.ts";

/** Octets. */
const LONGEST_FILE = 64 * 1024 * 1024;

/** Reads it. @throws {CommandError} when there is none, or it is too long */
export async function readReportFile(path: string): Promise<Uint8Array> {
  try {
    const { size } = await Deno.stat(path);
    if (size > LONGEST_FILE) throw new Error(`longer than ${LONGEST_FILE} octets`);
    return await Deno.readFile(path);
  } catch (error) {
    throw new CommandError(`${printable(path)}: ${errorText(error)}`, EXIT.noInput, { cause: error });
  }
}
