/**
 * `mailapp trace`: the history of a message across all servers of this machine.
 *
 * @module
 */
import { type Command, InvalidArgumentError } from "commander";
import { errorText } from "../../base/error_text.ts";
import type { Config } from "../../config/config.ts";
import { loadConfig } from "../../config/load.ts";
import type { TimeRange } from "../../observe/log_files.ts";
import { type LoggedEvent, parseLine } from "../../observe/log_lines.ts";
import { followed, MAX_EVENTS, type Story, type Trace, traceMessages } from "../../observe/message_trace.ts";
import { readQuery, textsOf, timeOfQuery, type TraceQuery } from "../../observe/trace_query.ts";
import type { QueueView } from "../../relay/operator.ts";
import { CommandError, EXIT, type ExitCode } from "../../server/exit_codes.ts";
import type { Io } from "../../server/io.ts";
import { openQueue } from "../../server/queue_access.ts";
import { JsonArray, moment } from "../command_line/json.ts";
import { detailsOf, jsonOf } from "../command_line/queue_text.ts";
import { paged, pagerOption } from "../command_line/pager.ts";
import { logOption, parseTime } from "../command_line/log_options.ts";
import { configOption, examples, type Registrar } from "../command_line/subcommand.ts";
import { count, printable, showTime } from "../command_line/terminal.ts";
import { findLog, followLog, type FoundLog } from "./log_sources.ts";
import { findStored, type StoredFile } from "./stored.ts";
import { wordsOf } from "./words.ts";

interface Flags {
  readonly config?: string;
  readonly log: readonly string[];
  readonly since?: number;
  readonly until?: number;
  readonly limit: number;
  readonly follow?: true;
  readonly json?: true;
  readonly pager?: boolean;
}

/** Registers the subcommand. */
export function registerTrace(program: Command, { io, action }: Registrar): void {
  program.command("trace")
    .description(
      "show the history of a message: its sender, the checks, where it went and what was replied",
    )
    .argument(
      "<what>",
      "a queue id, session id, Message-ID, address, file of a Maildir, or a line of a bounce",
    )
    .option("--since <time>", "start at: 2026-11-24, 2026-11-24T08:00Z, or this long ago: 2d, 4h", parseTime)
    .option("--until <time>", "end at", parseTime)
    .option("--limit <number>", "at most this many messages, the newest", parseNumber, 10)
    .option("--follow", "follow the log, until Ctrl-C")
    .addOption(logOption())
    .option("--json", "print JSON: an array, one element for each message; with --follow, one event a line")
    .addOption(pagerOption())
    .addOption(configOption())
    .addHelpText(
      "after",
      examples("mailapp trace bob@example.net --since 2d", "mailapp trace mi1x0b2k00000a3f7c2q --follow"),
    )
    .action(
      action((what: string, flags: Flags) =>
        flags.follow ? trace(what, { flags, io }) : paged((io) => trace(what, { flags, io }), { flags, io })
      ),
    );
}

function parseNumber(text: string): number {
  if (/^[1-9]\d{0,3}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It must be a number from 1 to 9999.");
}

/** A session begins at most this long before the time in an id. */
const BEFORE = 3 * 3_600_000;

async function trace(
  what: string,
  { flags, io }: { readonly flags: Flags; readonly io: Io },
): Promise<ExitCode> {
  const query = readQuery(what);
  if (query === undefined) {
    throw new CommandError(
      `${printable(what) || `""`}: not an id, Message-ID, address or file of a Maildir, and contains none`,
      EXIT.usage,
    );
  }
  const config = await loadConfig(flags.config, { env: io.env });
  const log = await findLog(config, flags.log);
  const range: TimeRange = {
    since: flags.since ?? (timeOfQuery(query) ?? BEFORE) - BEFORE,
    until: flags.until ?? Infinity,
  };
  const following = flags.follow && startFollowing(log, io);
  const trace = await traceMessages(query, { sources: log.sources, range, limit: flags.limit });
  const { stories } = trace;
  for (const problem of log.problems) io.err(`mailapp: ${printable(problem)}\n`);
  if (flags.json) { for (const sentence of leftOut(trace)) io.err(`mailapp: ${sentence}\n`); }
  const known = await searchStored(config, { query, stories, io });
  if (flags.json && !flags.follow) {
    using out = new JsonArray(io);
    for (const element of asJson(stories, known)) out.add(element);
    out.end();
  } else if (!flags.json) {
    io.out(leftOut(trace).map((sentence) => `${sentence}\n\n`).join(""));
    stories.forEach((story, index) => io.out(`${index === 0 ? "" : "\n"}${inWords(story)}`));
    io.out(await whatIsKnown({ query, stories, known, log }));
  }
  if (log.incomplete) return EXIT.noInput;
  if (following) return await follow(following, { query, stories, flags, io });
  const nothing = stories.length === 0 && known.queued.length === 0 && known.stored.every(({ now }) => !now);
  return nothing ? EXIT.unavailable : EXIT.ok;
}

/** What the output does not have, in sentences. */
function leftOut({ more, keptSince, cutOff }: Trace): string[] {
  const older = [
    ...(more > 0 ? [count(more, "older message")] : []),
    ...(keptSince === undefined ? [] : [`all from before ${showTime(keptSince)}, as too many lines match`]),
  ];
  return [
    ...(older.length > 0 ? [`${older.join(" and ")} left out; see --limit, --since and --until`] : []),
    ...(cutOff ? [`these messages have more than ${MAX_EVENTS} events; the rest is left out`] : []),
  ];
}

/** What the queue and the Maildirs know. */
interface Known {
  readonly queued: readonly QueueView[];
  /** Why the queue could not be read. */
  readonly unasked?: string;
  readonly stored: readonly StoredFile[];
}

/** Upper bound of the queued messages shown for an address. */
const MAX_QUEUED = 20;

async function searchStored(
  config: Config,
  { query, stories, io }: { readonly query: TraceQuery; readonly stories: readonly Story[]; readonly io: Io },
): Promise<Known> {
  const files = new Set(
    stories.flatMap(({ events }) =>
      events.flatMap(({ event, fields }) => event === "message.delivered" ? textsOf(fields["file"]) : [])
    ),
  );
  if (query.kind === "file" && query.path.includes("/")) files.add(query.path);
  const stored = await Promise.all(Array.from(files, findStored));
  const ids = [
    ...new Set([...stories.flatMap(({ ids }) => ids), ...(query.kind === "id" ? [query.text] : [])]),
  ];
  try {
    await using queue = await openQueue(config, io);
    const queued: QueueView[] = [];
    if (query.kind === "address" && stories.length === 0) {
      const wanted = query.text.toLowerCase();
      for await (const view of queue.list({})) {
        const addresses = [view.entry.reversePath, ...view.entry.recipients.map(({ address }) => address)];
        if (addresses.some((address) => address.toLowerCase() === wanted)) queued.push(view);
        if (queued.length === MAX_QUEUED) break;
      }
    } else if (ids.length > 0) {
      for await (const view of queue.list({ ids })) queued.push(view);
    }
    return { queued, stored };
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    return { queued: [], unasked: errorText(error), stored };
  }
}

function inWords({ ids, sessions, events }: Story): string {
  const head = events.find(({ event }) => event === "message.accepted") ?? events[0];
  const from = head?.fields["from"];
  const about = head?.event === "message.accepted"
    ? ` from ${from === "" ? "<>" : textsOf(from).join()} to ${textsOf(head.fields["to"]).join(", ")}`
    : "";
  const name = ids.length > 0 ? `message ${ids.join(", ")}` : `session ${sessions.join(", ")}`;
  return [`${printable(name + about)}\n`, ...events.map(line)].join("");
}

/** The event as a line, without fields that only developers need. */
function line(event: LoggedEvent): string {
  const { server } = event.fields;
  const [first = "", ...rest] = wordsOf(event).split("\n");
  const who = typeof server === "string" ? `${printable(server).padEnd(9)} ` : "";
  return `  ${showTime(event.time)}  ${who}${first}\n${rest.map((more) => `      ${more}\n`).join("")}`;
}

async function whatIsKnown(
  { query, stories, known, log }: {
    readonly query: TraceQuery;
    readonly stories: readonly Story[];
    readonly known: Known;
    readonly log: FoundLog;
  },
): Promise<string> {
  const lines: string[] = [];
  for (const view of known.queued) lines.push("\nin the queue now:\n", detailsOf(view));
  if (known.unasked !== undefined) {
    lines.push(`\nthe queue could not be read: ${printable(known.unasked)}\n`);
  }
  for (const file of known.stored) lines.push(whereNow(file));
  if (stories.length === 0) lines.unshift(await whyNothing(query, log));
  return lines.join("");
}

function whereNow({ path, now, folder, seen, error }: StoredFile): string {
  if (error !== undefined) {
    return `\n${printable(path)}: cannot find out where it is now: ${printable(error)}\n`;
  }
  if (now === undefined) {
    return `\n${printable(path)}: gone; a mail reader has deleted it or moved it elsewhere\n`;
  }
  const where = folder === "" ? "the inbox" : `the folder ${printable(folder ?? "")}`;
  return `\nnow in ${where}, ${seen ? "seen by a mail reader" : "not seen by a mail reader yet"}:\n  ${
    printable(now)
  }\n`;
}

async function whyNothing(query: TraceQuery, { sources }: FoundLog): Promise<string> {
  const [oldest] = sources;
  if (oldest === undefined) return "no log could be read\n";
  const begins = await oldest.begins();
  const from = Number.isNaN(begins) ? "" : `; the log begins at ${showTime(begins)}`;
  const time = timeOfQuery(query);
  const gone = time !== undefined && time < begins ? ", and earlier entries are gone" : "";
  return `the log has nothing about ${printable(query.text)}${from}${gone}\n`;
}

/** One element for each message; for one that is not in the log, what the queue and the Maildirs know. */
function asJson(stories: readonly Story[], { queued, stored }: Known): unknown[] {
  if (stories.length === 0) {
    const nothing = { ids: [], sessions: [], events: [], queue: [], stored: [] };
    return [
      ...queued.map((view) => ({ ...nothing, ids: [view.entry.id], queue: [jsonOf(view)] })),
      ...stored.filter(({ now }) => now !== undefined).map((file) => ({ ...nothing, stored: [file] })),
    ];
  }
  return stories.map(({ ids, sessions, events }) => {
    const paths = events.flatMap(({ fields }) => textsOf(fields["file"]));
    return {
      ids,
      sessions,
      events: events.map(jsonOfEvent),
      queue: queued.filter(({ entry }) => ids.includes(entry.id)).map(jsonOf),
      stored: stored.filter(({ path }) => paths.includes(path)),
    };
  });
}

function jsonOfEvent(event: LoggedEvent): unknown {
  const { time, level, event: name, fields } = event;
  const known = Object.entries(fields).filter(([, value]) => value !== null);
  return { at: moment(time), level, event: name, ...Object.fromEntries(known), words: wordsOf(event) };
}

/** Begins before the log so far is searched, so that no line is lost between the two. */
function startFollowing(log: FoundLog, io: Io): Following {
  const stopping = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) io.onSignal(signal, () => stopping.abort());
  const pieces = followLog(log, stopping.signal);
  const first = pieces.next();
  first.catch(() => {});
  return { pieces, first };
}

interface Following {
  readonly pieces: AsyncGenerator<string>;
  readonly first: Promise<IteratorResult<string>>;
}

async function follow(
  { pieces, first }: Following,
  { query, stories, flags, io }: {
    readonly query: TraceQuery;
    readonly stories: readonly Story[];
    readonly flags: Flags;
    readonly io: Io;
  },
): Promise<ExitCode> {
  const isWanted = followed(query, stories);
  const shown = new Set(stories.flatMap(({ events }) => events.map((event) => JSON.stringify(event))));
  for (let piece = await first; !piece.done; piece = await pieces.next()) {
    for (const text of piece.value.split("\n")) {
      const event = parseLine(text);
      if (event === undefined || !isWanted(event)) continue;
      if (shown.size > 0 && shown.delete(JSON.stringify(event))) continue;
      io.out(flags.json ? `${JSON.stringify(jsonOfEvent(event))}\n` : line(event));
    }
  }
  return EXIT.ok;
}
