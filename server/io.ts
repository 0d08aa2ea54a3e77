/**
 * A command's access to its process.
 *
 * @module
 */
import type { ExitCode } from "./exit_codes.ts";
import type { ServerStart } from "./server_start.ts";
import type { ServerSignals } from "./signals.ts";

/** Output, environment, signals and exit; main.ts passes those of the process. */
export interface Io {
  /** Environment variables. */
  readonly env: { get(name: string): string | undefined };
  /** Whether standard error is a terminal. */
  readonly isTerminal: boolean;
  /** The width of the terminal that standard output is; `undefined`, or absent, where it is none. */
  columns?(): number | undefined;
  /**
   * Writes text to standard output as it is.
   * @throws {OutputClosedError} when the reader has closed it
   */
  out(text: string): void;
  /** Writes text to standard error as it is; throws the same. */
  err(text: string): void;
  /** Calls back at each of these signals, for the rest of the process's life. */
  onSignal(signal: "SIGTERM" | "SIGINT" | "SIGHUP" | "SIGUSR1", callback: () => void): void;
  /** Ends the process at once, whatever is in progress. */
  exitNow(code: ExitCode): void;
}

/** The reader of the output has closed it, as in `mailapp … | head`. Ends the command; it is not a failure. */
export class OutputClosedError extends Error {
  constructor(options: ErrorOptions) {
    super("the output is closed", options);
    this.name = "OutputClosedError";
  }
}

/** Access for work that must not stop half-way: what it says is dropped once nobody reads it. */
export function unheeded(io: Io): Io {
  const saying = (say: (text: string) => void) => (text: string) => {
    try {
      say(text);
    } catch (error) {
      if (!(error instanceof OutputClosedError)) throw error;
    }
  };
  return { ...io, out: saying((text) => io.out(text)), err: saying((text) => io.err(text)) };
}

/** What servers need in addition. */
export interface ServerIo extends Io {
  /** Serves with the grants of `start` for the rest of the process's life; returns the exit code. */
  confine(start: ServerStart, signals: ServerSignals): Promise<ExitCode>;
}
