/**
 * What a command has of the process around it.
 *
 * @module
 */
import type { ExitCode } from "./exit_codes.ts";
import type { ServerStart } from "./server_start.ts";
import type { ServerSignals } from "./signals.ts";

/** Output, environment, signals and the way out; main.ts gives the process's own. */
export interface Io {
  /** Environment variables. */
  readonly env: { get(name: string): string | undefined };
  /** Whether standard error is a terminal. */
  readonly isTerminal: boolean;
  /**
   * Writes text to standard output as it is.
   * @throws {OutputClosedError} when nobody reads it any more
   */
  out(text: string): void;
  /** Writes text to standard error as it is; throws the same. */
  err(text: string): void;
  /** Calls back at each of these signals, for the rest of the process's life. */
  onSignal(signal: "SIGTERM" | "SIGINT" | "SIGHUP" | "SIGUSR1", callback: () => void): void;
  /** Ends the process at once, whatever is under way. */
  exitNow(code: ExitCode): void;
}

/** Whoever read the output has gone, as `mailapp … | head` does. Ends the command; it is no failure. */
export class OutputClosedError extends Error {
  constructor(options: ErrorOptions) {
    super("nobody reads the output", options);
    this.name = "OutputClosedError";
  }
}

/** What the servers have of it besides. */
export interface ServerIo extends Io {
  /** Serves with no more power than `start` grants, for the rest of the process's life; what it ends with. */
  confine(start: ServerStart, signals: ServerSignals): Promise<ExitCode>;
}
