/**
 * What a command has of the process around it.
 *
 * @module
 */
import type { ExitCode } from "./exit_codes.ts";

/** Output, environment, signals and the way out; main.ts gives the process's own. */
export interface Io {
  /** Environment variables. */
  readonly env: { get(name: string): string | undefined };
  /** Whether standard error is a terminal. */
  readonly isTerminal: boolean;
  /** Writes text to standard output as it is. */
  out(text: string): void;
  /** Writes text to standard error as it is. */
  err(text: string): void;
  /** Calls back at each of these signals, for the rest of the process's life. */
  onSignal(signal: "SIGTERM" | "SIGINT" | "SIGHUP", callback: () => void): void;
  /** Ends the process at once, whatever is under way. */
  exitNow(code: ExitCode): void;
}
