/**
 * Exit codes of commands, after sysexits.h.
 *
 * @module
 */

/** The exit codes in use. */
export const EXIT = {
  /** All is well. */
  ok: 0,
  /** The command line is wrong (EX_USAGE). */
  usage: 64,
  /** The input is wrong (EX_DATAERR). */
  data: 65,
  /** An input file is missing or cannot be read (EX_NOINPUT). */
  noInput: 66,
  /** Something required is unavailable, such as a port or a server (EX_UNAVAILABLE). */
  unavailable: 69,
  /** A defect in the program (EX_SOFTWARE). */
  software: 70,
  /** A temporary failure; try again later (EX_TEMPFAIL). */
  tryAgain: 75,
  /** The account may not do this (EX_NOPERM). */
  noPermission: 77,
  /** The configuration is wrong (EX_CONFIG). */
  config: 78,
} as const;

/** One of the exit codes. */
export type ExitCode = typeof EXIT[keyof typeof EXIT];

/** Ends a command with a message for its user and an exit code. */
export class CommandError extends Error {
  /** The exit code of the process. */
  readonly exitCode: ExitCode;

  /**
   * An error for the user of a command.
   * @param message What is wrong and what to do, for people.
   * @param exitCode The exit code of the process.
   */
  constructor(message: string, exitCode: ExitCode, options?: ErrorOptions) {
    super(message, options);
    this.name = "CommandError";
    this.exitCode = exitCode;
  }
}
