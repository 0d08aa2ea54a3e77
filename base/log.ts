/**
 * The log seen by the rest of the program: one event a line, a stable event name and fields.
 *
 * @module
 */

/** The level of an event; `trace` also shows the dialogue. */
export type LogLevel = "error" | "warn" | "info" | "debug" | "trace";

/** A value that a log line may carry; strings may hold anything, the writer escapes control bytes. */
export type LogValue = string | number | boolean | null | undefined | readonly string[] | readonly number[];

/** Named facts of one event, such as `{ session: "x", peer: "192.0.2.1" }`. */
export type LogFields = Readonly<Record<string, LogValue>>;

/** Writes events. Event names are dotted and documented in docs/logs.md, e.g. `session.closed`. */
export interface Logger {
  /** Whether an event of this level would be written; guards costly fields. */
  enabled(level: LogLevel): boolean;
  /** For what needs an operator. */
  error(event: string, fields?: LogFields): void;
  /** For something unusual that the server handled. */
  warn(event: string, fields?: LogFields): void;
  /** For what operators look for: sessions, messages, refusals. */
  info(event: string, fields?: LogFields): void;
  /** For debugging. */
  debug(event: string, fields?: LogFields): void;
  /** For the dialogue itself. */
  trace(event: string, fields?: LogFields): void;
  /** A logger that adds these fields to each event. */
  with(fields: LogFields): Logger;
}

/** A logger that writes nothing. */
export const silentLogger: Logger = {
  enabled: () => false,
  error() {},
  warn() {},
  info() {},
  debug() {},
  trace() {},
  with: () => silentLogger,
};
