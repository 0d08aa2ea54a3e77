/**
 * The log of the program.
 *
 * @module
 */
import { type Counter, counter, counters } from "../base/counters.ts";
import type { LogFields, Logger, LogLevel } from "../base/log.ts";
import { formatJson, formatText, type LogEvent } from "./log_format.ts";
import { type LogDestination, LogOutput } from "./log_output.ts";

const logged = counters("mailapp_log_events_total", {
  help: "Events of the log by name, whether they were written or below its level; docs/logs.md lists them",
  labels: ["event", "level"],
  maxSeries: 400,
});
const lostLines = counter("mailapp_log_lost_lines_total", "Lines of the log that could not be written");

/** What to log, how and where. */
export interface LogOptions {
  /** The lowest level that is written. */
  readonly level: LogLevel;
  /** `auto`: text on a terminal, else JSON. */
  readonly format: "auto" | "text" | "json";
  /** A file to append to, made with mode 0640; `""` for standard error. */
  readonly file: string;
  /** Whether standard error is a terminal. */
  readonly isTerminal: boolean;
  /** Whether standard error is read by systemd's journal: each line then begins with its priority (sd-daemon(3)). */
  readonly toJournal?: boolean;
  /** Whether several threads log to standard error: no write then ends within a line if it can be avoided. */
  readonly wholeLines?: boolean;
  /** Standard error, or its replacement in tests. */
  readonly standardError?: LogDestination;
  /** Fields of every line. */
  readonly context?: LogFields;
  /** Upper bound of what may wait for a slow destination, in UTF-16 units; 4 Mi if absent. */
  readonly capacity?: number;
}

/** The log of the process, with the controls for its owner. */
export interface Log extends AsyncDisposable {
  /** Writes events. */
  readonly logger: Logger;
  /** The lowest level that is written; may be changed at any time. */
  level: LogLevel;
  /**
   * Opens the file again, after it was rotated.
   * @throws what opening it throws; the old file stays in use then
   */
  reopen(): Promise<void>;
  /** Resolves when all events so far are written, or lost. */
  flush(): Promise<void>;
}

const LEVELS: Readonly<Record<LogLevel, number>> = { error: 4, warn: 3, info: 2, debug: 1, trace: 0 };
/** Priorities of syslog(3) by level. */
const PRIORITIES: Readonly<Record<LogLevel, number>> = { error: 3, warn: 4, info: 6, debug: 7, trace: 7 };
const standardError: LogDestination = { write: (data) => Deno.stderr.write(data), close() {} };

/**
 * Starts a log. Writing never blocks nor fails the program; see {@linkcode LogOutput}. Dispose of it to write what waits.
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
  const { level, file, isTerminal, format, context = {} } = options;
  const text = format === "text" || (format === "auto" && file === "" && isTerminal);
  const formatLine = text ? formatText : formatJson;
  const forStderr = options.toJournal
    ? (event: LogEvent) => `<${PRIORITIES[event.level]}>${formatLine(event)}`
    : formatLine;
  const formatEvent = file === "" ? forStderr : formatLine;
  const shared = options.wholeLines ? wholeLines : (destination: LogDestination) => destination;
  const stderr = shared(options.standardError ?? standardError);
  const own = (event: string, fields: LogFields): LogEvent => (
    { time: Date.now(), level: "error", event, fields: { ...context, ...fields } }
  );
  const output = new LogOutput({
    open: file === "" ? () => stderr : () => openFile(file),
    lost: (count) => {
      lostLines.add(count);
      return formatEvent(own("log.lost", { lines: count }));
    },
    failed(error) {
      if (file === "") return;
      const line = forStderr(own("log.failed", { file, error: String(error) }));
      Promise.try(() => stderr.write(new TextEncoder().encode(line + "\n"))).catch(() => {});
    },
    ...(options.capacity === undefined ? {} : { capacity: options.capacity }),
  });
  const threshold = { level, least: LEVELS[level] };
  return {
    logger: new EventLogger((event) => output.write(formatEvent(event)), threshold, context),
    get level() {
      return threshold.level;
    },
    set level(level) {
      threshold.level = level;
      threshold.least = LEVELS[level];
    },
    reopen: () => output.reopen(),
    flush: () => output.flush(),
    [Symbol.asyncDispose]: () => output[Symbol.asyncDispose](),
  };
}

/** Octets that a pipe takes in one piece (PIPE_BUF, pipe(7)). */
const ONE_PIECE = 4096;
const LINE_FEED = 10;

/** Ends each write with a line, so that those of several threads do not mix. Only a line beyond 4,096 octets may. */
function wholeLines(destination: LogDestination): LogDestination {
  return {
    write(data) {
      if (data.length <= ONE_PIECE) return destination.write(data);
      const end = data.lastIndexOf(LINE_FEED, ONE_PIECE - 1);
      const first = data.indexOf(LINE_FEED);
      return destination.write(data.subarray(0, 1 + (end >= 0 ? end : first >= 0 ? first : data.length - 1)));
    },
    close: () => destination.close(),
  };
}

function openFile(path: string): LogDestination {
  const file = Deno.openSync(path, { append: true, create: true, mode: 0o640 });
  // On the calling thread, since a file's page cache takes it at once; a terminal or a pipe may block.
  return { write: (data) => file.writeSync(data), close: () => file.close() };
}

/** Filters events by level, and adds their common fields. */
class EventLogger implements Logger {
  readonly #write: (event: LogEvent) => void;
  readonly #threshold: { readonly least: number };
  readonly #context: LogFields;

  constructor(
    write: (event: LogEvent) => void,
    threshold: { readonly least: number },
    context: LogFields = {},
  ) {
    this.#write = write;
    this.#threshold = threshold;
    this.#context = context;
  }

  enabled(level: LogLevel): boolean {
    return LEVELS[level] >= this.#threshold.least;
  }

  error(event: string, fields?: LogFields): void {
    this.#log("error", event, fields);
  }

  warn(event: string, fields?: LogFields): void {
    this.#log("warn", event, fields);
  }

  info(event: string, fields?: LogFields): void {
    this.#log("info", event, fields);
  }

  debug(event: string, fields?: LogFields): void {
    this.#log("debug", event, fields);
  }

  trace(event: string, fields?: LogFields): void {
    this.#log("trace", event, fields);
  }

  with(fields: LogFields): Logger {
    return new EventLogger(this.#write, this.#threshold, { ...this.#context, ...fields });
  }

  #log(level: LogLevel, event: string, fields: LogFields | undefined): void {
    if (level !== "trace") eventCounter(level, event).add();
    if (!this.enabled(level)) return;
    this.#write({ time: Date.now(), level, event, fields: { ...this.#context, ...fields } });
  }
}

/** By level, then event; a combined key would be concatenated for each line. */
const byLevel: Record<LogLevel, Map<string, Counter>> = {
  error: new Map(),
  warn: new Map(),
  info: new Map(),
  debug: new Map(),
  trace: new Map(),
};

/** The counter of an event; created at 0 if the event was not counted yet. */
export function eventCounter(level: LogLevel, event: string): Counter {
  const known = byLevel[level].get(event);
  if (known !== undefined) return known;
  const added = logged.with(event, level);
  byLevel[level].set(event, added);
  return added;
}
