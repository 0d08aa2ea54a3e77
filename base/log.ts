/**
 * The log seen by the rest of the program: one event a line, a stable event name and fields.
 *
 * @module
 */

/** How grave an event is; `trace` also shows the dialogue. */
export type LogLevel = "error" | "warn" | "info" | "debug" | "trace";

/** A value that a log line may carry; strings may hold anything, the writer escapes control bytes. */
export type LogValue = string | number | boolean | null | undefined | readonly string[] | readonly number[];

/** Named facts of one event, such as `{ session: "x", peer: "192.0.2.1" }`. */
export type LogFields = Readonly<Record<string, LogValue>>;

/** Writes events. Event names are dotted and documented in docs/logs.md, e.g. `session.closed`. */
export interface Logger {
  /** Whether an event of this level would be written; guards costly fields. */
  enabled(level: LogLevel): boolean;
  /** Something that needs a person. */
  error(event: string, fields?: LogFields): void;
  /** Something unusual that the server coped with. */
  warn(event: string, fields?: LogFields): void;
  /** What an operator looks for: sessions, messages, refusals. */
  info(event: string, fields?: LogFields): void;
  /** Detail for somebody who debugs. */
  debug(event: string, fields?: LogFields): void;
  /** The dialogue itself. */
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
