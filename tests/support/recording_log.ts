/**
 * A log that a test can read.
 *
 * @module
 */
import type { LogFields, Logger, LogLevel } from "../../base/log.ts";

/** One event. */
export interface LogEvent {
  /** How grave it is. */
  readonly level: LogLevel;
  /** Its name, such as `session.closed`. */
  readonly event: string;
  /** With those that the logger adds. */
  readonly fields: LogFields;
}

/** Keeps all events of all levels in {@linkcode RecordingLog.events}. */
export class RecordingLog implements Logger {
  /** What was logged, by this logger and by those made of it. */
  readonly events: LogEvent[];
  readonly #fields: LogFields;
  readonly #waiters: Set<() => void>;

  constructor(parent?: RecordingLog, fields: LogFields = {}) {
    this.events = parent?.events ?? [];
    this.#waiters = parent ? parent.#waiters : new Set();
    this.#fields = fields;
  }

  /** Always. */
  enabled(): boolean {
    return true;
  }

  error(event: string, fields?: LogFields): void {
    this.#note("error", event, fields);
  }

  warn(event: string, fields?: LogFields): void {
    this.#note("warn", event, fields);
  }

  info(event: string, fields?: LogFields): void {
    this.#note("info", event, fields);
  }

  debug(event: string, fields?: LogFields): void {
    this.#note("debug", event, fields);
  }

  trace(event: string, fields?: LogFields): void {
    this.#note("trace", event, fields);
  }

  with(fields: LogFields): Logger {
    return new RecordingLog(this, { ...this.#fields, ...fields });
  }

  /** The events of this name. */
  named(event: string): LogEvent[] {
    return this.events.filter((entry) => entry.event === event);
  }

  /** Resolves when there have been this many events of this name; gives the last of them. */
  async saw(event: string, count = 1): Promise<LogEvent> {
    for (;;) {
      const found = this.named(event)[count - 1];
      if (found) return found;
      await new Promise<void>((resolve) => {
        const wake = () => {
          this.#waiters.delete(wake);
          resolve();
        };
        this.#waiters.add(wake);
      });
    }
  }

  #note(level: LogLevel, event: string, fields: LogFields = {}): void {
    this.events.push({ level, event, fields: { ...this.#fields, ...fields } });
    for (const wake of [...this.#waiters]) wake();
  }
}
