/**
 * What the log says, counted as it is written: mail by minute and hour, refusals, senders, destinations, delays.
 *
 * @module
 */
import { errorText } from "../../base/error_text.ts";
import type { LogSource } from "../../observe/log_files.ts";
import { type LoggedEvent, parseLine } from "../../observe/log_lines.ts";
import { type LineFinder, linesAt, searchLog } from "../../observe/log_search.ts";
import { textsOf, timeOfId } from "../../observe/trace_query.ts";
import { figureOf, type Figures, noFigures, reasonIn, REASONS, senderOf } from "../status/log_figures.ts";
import { TopCounts } from "../../base/top_counts.ts";

/** Where a {@linkcode LogView} reads. */
export interface LogViewOptions {
  /** The log so far, oldest part first. */
  readonly sources: readonly LogSource[];
  /** What is written from its first `next()` on, in pieces of whole lines. */
  readonly follow: (signal: AbortSignal) => AsyncIterable<string>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Whether an IP address is one of this machine's. */
  readonly isOwnAddress: (address: string) => boolean;
}

/** A line of the log that may be shown. */
export interface Notable {
  readonly time: number;
  readonly event: LoggedEvent;
}

/** A minute or an hour. */
export interface Span {
  /** Its beginning, in milliseconds since the epoch. */
  readonly at: number;
  readonly figures: Figures;
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
/** How far back minutes are kept. */
const MINUTES = 60;
/** Notable lines kept. */
const MAX_NOTABLE = 100;
/** Upper ends of the delays counted, in milliseconds; longer ones count last. */
export const DELAYS = [1_000, 10_000, MINUTE, 10 * MINUTE, HOUR, DAY];

/** Counts of today or yesterday (UTC). */
class Day {
  readonly hours = Array.from({ length: 24 }, noFigures);
  readonly refusals = new TopCounts();
  readonly deferrals = new TopCounts();
  readonly senders = new TopCounts();
  readonly origins = new TopCounts();
  readonly destinations = new TopCounts();
  /** By {@linkcode DELAYS}. */
  readonly delays = Array.from({ length: DELAYS.length + 1 }, () => 0);
}

// Those of message flow, warnings and errors; in JSON and in text.
const WANTED =
  /(?:"event":"| )(?:message\.(?:accepted|refused)|(?:command|connection)\.refused|session\.closed|attempt\.(?:relayed|deferred|failed)|queue\.expired|login\.(?:accepted|refused|put_off|unavailable|paused|limited)|server\.ready)[" ]|"level":"(?:warn|error)"|\dZ (?:WARN|ERROR) /g;

const find: LineFinder = function* (piece) {
  WANTED.lastIndex = 0;
  for (let found = WANTED.exec(piece); found !== null; found = WANTED.exec(piece)) yield found.index;
};

/** The counts; they grow while {@linkcode LogView.run} runs. */
export class LogView {
  readonly #options: LogViewOptions;
  readonly #days = new Map<number, Day>();
  readonly #minutes = new Map<number, Figures>();
  readonly #started = new Map<string, number>();
  #state: "reading" | "live" | "failed" = "reading";
  #problem = "";
  /** The latest refusals, newest last. */
  readonly refused: Notable[] = [];
  /** The latest warnings and errors, newest last. */
  readonly warnings: Notable[] = [];

  /** Nothing is read yet. */
  constructor(options: LogViewOptions) {
    this.#options = options;
  }

  /** Whether the log so far is still being read, or why no more comes. */
  get state(): { readonly kind: "reading" | "live" | "failed"; readonly problem: string } {
    return { kind: this.#state, problem: this.#problem };
  }

  /** Reads the log so far, and goes on as it grows, until the signal. Never throws. */
  async run(signal: AbortSignal): Promise<void> {
    const { sources, follow, now } = this.#options;
    try {
      const pieces = follow(signal)[Symbol.asyncIterator]();
      // What is written while the log so far is read comes here; which side a line belongs to is told by its time.
      let next = pieces.next();
      next.catch(() => {});
      const border = now();
      const since = Math.floor(border / DAY) * DAY - DAY;
      for await (const event of searchLog(sources, { find, range: { since, until: border } })) {
        this.#count(event);
        if (signal.aborted) return;
      }
      this.#state = "live";
      for (let piece = await next; !piece.done; piece = await next) {
        for (const line of linesAt(piece.value, find(piece.value))) {
          const event = parseLine(line);
          if (event !== undefined && event.time > border) this.#count(event);
        }
        next = pieces.next();
      }
    } catch (error) {
      this.#state = "failed";
      this.#problem = errorText(error);
    }
  }

  /** The last hour, minute by minute, oldest first; the present minute last. */
  get minutes(): Span[] {
    const last = Math.floor(this.#options.now() / MINUTE) * MINUTE;
    return Array.from({ length: MINUTES }, (_, index) => {
      const at = last - (MINUTES - 1 - index) * MINUTE;
      return { at, figures: this.#minutes.get(at) ?? noFigures() };
    });
  }

  /** All hours since midnight of yesterday, oldest first. */
  get hours(): Span[] {
    const now = this.#options.now();
    const since = Math.floor(now / DAY) * DAY - DAY;
    return Array.from({ length: Math.floor((now - since) / HOUR) + 1 }, (_, hour) => ({
      at: since + hour * HOUR,
      figures: this.#days.get(since + Math.floor(hour / 24) * DAY)?.hours[hour % 24] ?? noFigures(),
    }));
  }

  /** What is counted by name since midnight of yesterday, most first. */
  top(what: "refusals" | "deferrals" | "senders" | "origins" | "destinations", limit: number) {
    return TopCounts.sum(this.#recentDays().map((day) => day[what])).top(limit);
  }

  /** How long mail took from the queue to another server since midnight of yesterday, counted by {@linkcode DELAYS}. */
  get delays(): number[] {
    const sum = Array.from({ length: DELAYS.length + 1 }, () => 0);
    for (const { delays } of this.#recentDays()) {
      for (const [index, count] of delays.entries()) sum[index] = (sum[index] ?? 0) + count;
    }
    return sum;
  }

  /** When a server last said that it serves. */
  startOf(server: string): number | undefined {
    return this.#started.get(server);
  }

  #recentDays(): Day[] {
    const today = Math.floor(this.#options.now() / DAY) * DAY;
    return [today - DAY, today].flatMap((at) => this.#days.get(at) ?? []);
  }

  #dayOf(time: number): Day {
    const at = Math.floor(time / DAY) * DAY;
    let day = this.#days.get(at);
    if (day === undefined) {
      day = new Day();
      this.#days.set(at, day);
      const kept = Math.floor(this.#options.now() / DAY) * DAY - DAY;
      for (const other of this.#days.keys()) if (other < kept) this.#days.delete(other);
    }
    return day;
  }

  #count(event: LoggedEvent): void {
    const { time, fields } = event;
    if (event.event === "server.ready") this.#started.set(textsOf(fields["server"]).join(), time);
    if (event.level === "warn" || event.level === "error") keep(this.warnings, event);
    const kind = figureOf(event, this.#options);
    if (kind === undefined) return;
    const day = this.#dayOf(time);
    const hour = day.hours[Math.floor(time % DAY / HOUR)];
    if (hour !== undefined) hour[kind]++;
    this.#minute(time)[kind]++;
    const reasons = REASONS[kind];
    if (reasons !== undefined) day[reasons].add(reasonIn(event));
    if (kind === "refused") keep(this.refused, event);
    else if (kind === "relayed") {
      day.destinations.add(domainOf(textsOf(fields["recipient"]).join()));
      const queuedAt = timeOfId(textsOf(fields["id"]).join());
      if (queuedAt !== undefined) {
        const place = DELAYS.findIndex((delay) => time - queuedAt < delay);
        const index = place < 0 ? DELAYS.length : place;
        day.delays[index] = (day.delays[index] ?? 0) + 1;
      }
    } else if (kind === "submitted" || kind === "stored") {
      (kind === "submitted" ? day.senders : day.origins).add(senderOf(event));
    }
  }

  #minute(time: number): Figures {
    const at = Math.floor(time / MINUTE) * MINUTE;
    let minute = this.#minutes.get(at);
    if (minute === undefined) {
      minute = noFigures();
      const kept = this.#options.now() - (MINUTES + 1) * MINUTE;
      if (at > kept) this.#minutes.set(at, minute);
      for (const other of this.#minutes.keys()) if (other < kept) this.#minutes.delete(other);
    }
    return minute;
  }
}

function keep(list: Notable[], event: LoggedEvent): void {
  list.push({ time: event.time, event });
  if (list.length > MAX_NOTABLE) list.shift();
}

function domainOf(address: string): string {
  return address.slice(address.lastIndexOf("@") + 1).toLowerCase();
}
