/**
 * A file or directory that somebody named on the command line, and that cannot be used.
 *
 * @module
 */
import { dirname } from "@std/path";
import { errorText } from "../../base/error_text.ts";
import { CommandError, EXIT, type ExitCode } from "../../server/exit_codes.ts";
import { errorCode } from "../../storage/storage_error.ts";
import { printable } from "./terminal.ts";

/** What was to be found. */
export type NamedKind = "file" | "directory";

/** Options of {@linkcode namedFileError}. */
export interface NamedFileOptions {
  /** What was to be found; `file` if absent. */
  readonly kind?: NamedKind;
  /** What was to be done with it; `read` if absent. */
  readonly doing?: "read" | "write";
}

/** The error for it: which one, what is wrong, and what to do. Where no advice fits, the system's words. */
export function namedFileError(
  path: string,
  error: unknown,
  options: NamedFileOptions = {},
): CommandError {
  return new CommandError(`${printable(path)}: ${namedFileProblem(path, error, options)}`, exitCode(error), {
    cause: error,
  });
}

/** The same without the path, in words for people. */
export function namedFileProblem(
  path: string,
  error: unknown,
  { kind = "file", doing = "read" }: NamedFileOptions = {},
): string {
  switch (errorCode(error)) {
    case "ENOENT":
      if (doing === "write") {
        return `there is no directory ${printable(dirname(path))}; make it, or name another`;
      }
      return path === ""
        ? `the name is empty; name a ${kind}`
        : `no such ${kind}; check the name${
          path.startsWith("/") ? "" : `, or give the whole path: this is ${here()}`
        }`;
    case "EACCES":
    case "EPERM":
      return `this account has no permission; use sudo, or the account that the ${kind} belongs to`;
    case "EISDIR":
      return "a directory; name a file in it";
    case "ENOTDIR":
      return kind === "directory"
        ? "not a directory; name the directory that it is in"
        : `${printable(dirname(path))} is not a directory; check the path`;
    case "ELOOP":
      return "a symbolic link that leads in a circle; name the file that it should lead to";
    case "ENAMETOOLONG":
      return "the name is too long for a file; check the name";
    default:
      return printable(errorText(error));
  }
}

function exitCode(error: unknown): ExitCode {
  return ["EACCES", "EPERM"].includes(errorCode(error)) ? EXIT.noPermission : EXIT.noInput;
}

/** The working directory, in words. */
function here(): string {
  try {
    return printable(Deno.cwd());
  } catch {
    return "a directory that is gone";
  }
}
