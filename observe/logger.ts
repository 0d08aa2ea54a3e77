/**
 * The log of the program, on LogTape: levels and dispatch are LogTape's, the lines and where they go are ours.
 *
 * @module
 */
import { configureSync, getLogger, type Logger as Tape, type LogRecord, resetSync } from "@logtape/logtape";
import type { LogFields, Logger, LogLevel } from "../base/log.ts";
import { formatJson, formatText } from "./log_format.ts";
import { type LogDestination, LogOutput } from "./log_output.ts";

/** What to log, how and where. */
export interface LogOptions {
  /** The least grave level that is written. */
  readonly level: LogLevel;
  /** `auto`: text on a terminal, else JSON. */
  readonly format: "auto" | "text" | "json";
  /** A file to append to, made with mode 0640; `""` for standard error. */
  readonly file: string;
  /** Whether standard error is a terminal. */
  readonly isTerminal: boolean;
  /** Standard error, or what stands for it in tests. */
  readonly standardError?: LogDestination;
  /** Most that may wait for a slow destination, in UTF-16 units; 4 Mi unless told. */
  readonly capacity?: number;
}

/** The log of the process, and what its owner does with it. */
export interface Log extends AsyncDisposable {
  /** Writes events. */
  readonly logger: Logger;
  /** Opens the file again, after it was rotated. Never rejects: a file that cannot be opened is logged to the old one. */
  reopen(): Promise<void>;
  /** Resolves when all events so far are written, or lost. */
  flush(): Promise<void>;
}

const LEVELS: Readonly<Record<LogLevel, number>> = { error: 4, warn: 3, info: 2, debug: 1, trace: 0 };
const LEVEL_OF: Readonly<Record<LogRecord["level"], LogLevel>> = {
  fatal: "error",
  error: "error",
  warning: "warn",
  info: "info",
  debug: "debug",
  trace: "trace",
};

// How LogTape's own sinks say that they keep no record, which spares a copy of each, dearer than all the rest.
const FORMATS_AT_ONCE = Symbol.for("LogTape.sinkSnapshotPolicy.immediate");

const standardError: LogDestination = { write: (data) => Deno.stderr.write(data), close() {} };

/**
 * Starts the log. There is one for the process, as LogTape's configuration is global: a second call takes over.
 *
 * Writing never blocks nor fails the program; see {@linkcode LogOutput}. Dispose of it to write what waits.
 *
 * @throws what opening the file throws
 *
 * @example
 * ```ts
 * import { startLog } from "./logger.ts";
 *
 * await using log = startLog({ level: "info", format: "text", file: "", isTerminal: false });
 * log.logger.with({ session: "x7" }).info("session.closed", { messages: 1 });
 * ```
 */
export function startLog(options: LogOptions): Log {
  const { level, file, isTerminal, format } = options;
  const text = format === "text" || (format === "auto" && file === "" && isTerminal);
  const formatEvent = text ? formatText : formatJson;
  const stderr = options.standardError ?? standardError;
  const own = (event: string, fields: LogFields) =>
    formatEvent({ time: Date.now(), level: "error", event, fields });
  const output = new LogOutput({
    open: file === "" ? () => stderr : () => openFile(file),
    lost: (count) => own("log.lost", { lines: count }),
    failed(error) {
      if (file === "") return;
      const line = own("log.failed", { file, error: String(error) });
      Promise.try(() => stderr.write(new TextEncoder().encode(line + "\n"))).catch(() => {});
    },
    ...(options.capacity === undefined ? {} : { capacity: options.capacity }),
  });
  const sink = ({ level, rawMessage, timestamp, properties }: LogRecord) =>
    output.write(formatEvent({
      time: timestamp,
      level: LEVEL_OF[level],
      event: typeof rawMessage === "string" ? rawMessage : rawMessage.join("{}"),
      fields: properties as LogFields,
    }));
  configureSync({
    reset: true,
    sinks: { output: Object.assign(sink, { [FORMATS_AT_ONCE]: true }) },
    loggers: [
      { category: [], lowestLevel: level === "warn" ? "warning" : level, sinks: ["output"] },
      // LogTape on itself: only what is wrong.
      { category: ["logtape", "meta"], lowestLevel: "warning", sinks: ["output"], parentSinks: "override" },
    ],
  });
  return {
    logger: new TapeLogger(getLogger("mailapp"), LEVELS[level]),
    reopen: () => output.reopen(),
    flush: () => output.flush(),
    async [Symbol.asyncDispose]() {
      resetSync();
      await output[Symbol.asyncDispose]();
    },
  };
}

function openFile(path: string): LogDestination {
  const file = Deno.openSync(path, { append: true, create: true, mode: 0o640 });
  // On the calling thread, since a file's page cache takes it at once; a terminal or a pipe may make us wait.
  return { write: (data) => file.writeSync(data), close: () => file.close() };
}

/**
 * The program's {@linkcode Logger} over LogTape's. Records are made here: LogTape would parse each event name as a
 * message template, at several times the price.
 */
class TapeLogger implements Logger {
  readonly #tape: Tape;
  readonly #least: number;
  readonly #context: LogFields;

  constructor(tape: Tape, least: number, context: LogFields = {}) {
    this.#tape = tape;
    this.#least = least;
    this.#context = context;
  }

  enabled(level: LogLevel): boolean {
    return LEVELS[level] >= this.#least;
  }

  error(event: string, fields?: LogFields): void {
    this.#emit("error", event, fields);
  }

  warn(event: string, fields?: LogFields): void {
    if (this.#least <= LEVELS.warn) this.#emit("warning", event, fields);
  }

  info(event: string, fields?: LogFields): void {
    if (this.#least <= LEVELS.info) this.#emit("info", event, fields);
  }

  debug(event: string, fields?: LogFields): void {
    if (this.#least <= LEVELS.debug) this.#emit("debug", event, fields);
  }

  trace(event: string, fields?: LogFields): void {
    if (this.#least <= LEVELS.trace) this.#emit("trace", event, fields);
  }

  with(fields: LogFields): Logger {
    return new TapeLogger(this.#tape, this.#least, { ...this.#context, ...fields });
  }

  #emit(level: LogRecord["level"], event: string, fields: LogFields | undefined): void {
    const record: LogRecord = {
      category: this.#tape.category,
      level,
      message: [event],
      rawMessage: event,
      timestamp: Date.now(),
      properties: { ...this.#context, ...fields },
    };
    this.#tape.emit(record);
  }
}
