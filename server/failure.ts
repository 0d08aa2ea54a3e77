/**
 * Reports an error that ends a command, and maps it to an exit code.
 *
 * @module
 */
import { ConfigError, ConfigFileError } from "../config/errors.ts";
import { CommandError, EXIT, type ExitCode } from "./exit_codes.ts";
import type { Io } from "./io.ts";
import { errorText } from "../base/error_text.ts";
import { errorCode, StorageError } from "../storage/storage_error.ts";

/** Reports the error to the user; returns the exit code. */
export function reportFailure(error: unknown, { err }: Pick<Io, "err">): ExitCode {
  if (error instanceof CommandError) {
    err(`mailapp: ${error.message}\n`);
    return error.exitCode;
  }
  if (error instanceof ConfigError) {
    err(`${error.message}\n`);
    return EXIT.config;
  }
  if (error instanceof ConfigFileError) {
    err(`mailapp: ${error.message}\n`);
    return error.reason === "forbidden" ? EXIT.noPermission : EXIT.noInput;
  }
  if (isSystemError(error)) {
    err(`mailapp: ${errorText(error)}\n`);
    return EXIT.unavailable;
  }
  err(`mailapp: ${error instanceof Error ? error.stack ?? error.message : error}\n`);
  return EXIT.software;
}

/** Whether it is the system's, such as a failed file call, and no defect of the program. */
function isSystemError(error: unknown): boolean {
  return error instanceof StorageError || /^E[A-Z0-9]+$/.test(errorCode(error));
}
