/**
 * The file of a report that somebody has sent.
 *
 * @module
 */
import { CommandError, EXIT } from "../../server/exit_codes.ts";
import { namedFileError } from "./named_file.ts";
import { printable } from "./terminal.ts";

/** Octets. */
const LONGEST_FILE = 64 * 1024 * 1024;

/**
 * Reads it by `read`, which throws a `Malformed` where it is no such report.
 * @throws {CommandError} when there is no file, it is too long, or no such report
 */
export async function readReportFile<T>(
  path: string,
  { read, Malformed }: {
    readonly read: (file: Uint8Array) => T;
    readonly Malformed: new (...args: never[]) => Error;
  },
): Promise<T> {
  const file = await readFile(path);
  try {
    return read(file);
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw new CommandError(`${printable(path)}: ${error.message}`, EXIT.data, { cause: error });
  }
}

async function readFile(path: string): Promise<Uint8Array> {
  try {
    const { size } = await Deno.stat(path);
    if (size <= LONGEST_FILE) return await Deno.readFile(path);
  } catch (error) {
    throw namedFileError(path, error);
  }
  throw new CommandError(`${printable(path)}: longer than ${LONGEST_FILE} octets`, EXIT.noInput);
}
