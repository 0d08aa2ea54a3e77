/**
 * Assembles the history of a message from the logs of all servers of a machine.
 *
 * @module
 */
import type { LogSource, TimeRange } from "./log_files.ts";
import type { LoggedEvent } from "./log_lines.ts";
import { type LineFinder, linesOf, linesOfField, linesWith, searchLog } from "./log_search.ts";
import { idsIn, isMeant, isReceivedId, needleOf, textsOf, timeOfId, type TraceQuery } from "./trace_query.ts";

/** A message, or a session without one. */
export interface Story {
  /** Ids of the message: at each server that had it, and of the notices about it. */
  readonly ids: readonly string[];
  /** The sessions in which it came. */
  readonly sessions: readonly string[];
  /** In chronological order. */
  readonly events: readonly LoggedEvent[];
}

/** What was found. */
export interface Trace {
  /** The newest ones, oldest first. */
  readonly stories: readonly Story[];
  /** How many more there are, older than these. */
  readonly more: number;
  /**
   * So many lines match that older ones than this were not kept, and their messages are not counted in `more`;
   * milliseconds since the epoch. Absent: all were kept.
   */
  readonly keptSince?: number;
  /** Whether the messages have more events than {@linkcode MAX_EVENTS}, and some are missing. */
  readonly cutOff: boolean;
}

/** What to look through. */
export interface TraceOptions {
  /** The log, oldest part first. */
  readonly sources: readonly LogSource[];
  /** The range to search for the message; related events are found outside it, too. */
  readonly range: TimeRange;
  /** Upper bound of the messages assembled. */
  readonly limit: number;
}

const HOUR = 3_600_000;
/** How far a session extends before and after an event in it: it lasts half an hour, or twice that with a message. */
const SESSION = 2 * HOUR;
/** Upper bound of the events kept. */
export const MAX_EVENTS = 20_000;
/** Upper bound of search rounds: a message, its notice, the history of the notice. */
const MAX_ROUNDS = 6;

/** Finds the requested messages, and everything the log has about them. */
export async function traceMessages(query: TraceQuery, options: TraceOptions): Promise<Trace> {
  const { sources, range, limit } = options;
  const hits: LoggedEvent[] = [];
  let keptSince: number | undefined;
  for await (const event of searchLog(sources, { find: finderOf(query), range })) {
    if (!isMeant(query, event)) continue;
    hits.push(event);
    if (hits.length <= 2 * MAX_EVENTS) continue;
    hits.splice(0, MAX_EVENTS);
    keptSince = hits[0]?.time;
  }
  const seeds = seedsOf(query, hits);
  const chosen = seeds.slice(-limit);
  const log = new EventSet();
  const isChosen = new Set(chosen);
  for (const event of hits) {
    if (idsIn(event.fields).some((id) => isChosen.has(id))) log.add(event);
  }
  await complete(log, { seeds: chosen, sources });
  const stories: Story[] = [];
  const told = new Set<string>();
  const index = new EventIndex(log.events);
  for (const seed of chosen) {
    if (told.has(seed)) continue;
    const story = storyOf(seed, index);
    for (const id of story.ids) told.add(id);
    stories.push(story);
  }
  const more = seeds.length - chosen.length;
  return { stories, more, ...(keptSince !== undefined && { keptSince }), cutOff: log.isFull };
}

function finderOf(query: TraceQuery): LineFinder {
  const { text, anyCase } = needleOf(query);
  // Replies are searched for ids of ours only; a word such as `info` or a year is in every line.
  const isOwnField = query.kind === "id" && timeOfId(text) === undefined;
  return isOwnField ? linesOfField(text) : linesWith(text, { anyCase });
}

/** The ids of what was found, each message once, in chronological order. */
function seedsOf(query: TraceQuery, hits: readonly LoggedEvent[]): string[] {
  if (query.kind === "id" && hits.length > 0) return [query.text];
  const seeds = new Set<string>();
  for (const { fields } of hits) {
    const [seed] = [...textsOf(fields["id"]), ...textsOf(fields["session"])];
    if (seed !== undefined) seeds.add(seed);
  }
  return [...seeds];
}

/** The order of events within one millisecond; events not listed come between. */
const ORDER: readonly string[] = [
  "session.opened",
  "tls.started",
  "login.accepted",
  "command.refused",
  "",
  "message.delivered",
  "message.accepted",
  "attempt.relayed",
  "attempt.deferred",
  "attempt.failed",
  "queue.expired",
  "dsn.queued",
  "queue.done",
  "session.closed",
];

function rankOf({ event }: LoggedEvent): number {
  const rank = ORDER.indexOf(event);
  return rank < 0 ? ORDER.indexOf("") : rank;
}

/** Events, each once. */
class EventSet {
  readonly #events = new Map<string, LoggedEvent>();

  get events(): readonly LoggedEvent[] {
    return [...this.#events.values()].sort((one, other) =>
      one.time - other.time || rankOf(one) - rankOf(other)
    );
  }

  /** Whether an event was not added for want of room. */
  isFull = false;

  /** Adds an event; returns whether it is new. */
  add(event: LoggedEvent): boolean {
    const key = `${event.time} ${event.event} ${JSON.stringify(event.fields)}`;
    if (this.#events.has(key)) return false;
    if (this.#events.size >= MAX_EVENTS) {
      this.isFull = true;
      return false;
    }
    this.#events.set(key, event);
    return true;
  }
}

/** Searches for everything that belongs to these ids, and to the ids found. */
async function complete(
  log: EventSet,
  { seeds, sources }: { readonly seeds: readonly string[]; readonly sources: readonly LogSource[] },
): Promise<void> {
  const asked = new Set(seeds);
  const known = new Set(seeds);
  let wanted = windowsOf(seeds, log.events);
  for (let round = 0; round < MAX_ROUNDS && wanted.length > 0; round++) {
    for (const window of joined(wanted)) {
      for await (const event of searchLog(sources, { find: linesOf(window.ids), range: window })) {
        if (idsIn(event.fields).some((id) => window.ids.has(id))) log.add(event);
        if (event.event === "queue.done") window.open.delete(String(event.fields["id"]));
        if (window.open.size === 0 && event.time > window.needed) break;
      }
    }
    const fresh = new Set<string>();
    for (const { event, fields } of log.events) {
      const own = textsOf(fields["id"]).concat(textsOf(fields["session"]));
      if (!own.some((id) => known.has(id)) && !idsIn(fields).some((id) => known.has(id))) continue;
      // Other messages of the same session do not belong to it, unless the whole session is requested.
      const isOther = textsOf(fields["id"]).some((id) => !known.has(id));
      const isWhole = textsOf(fields["session"]).some((session) => asked.has(session));
      // serve-submit's own id of a message leads to its id in the queue, and back.
      const leadsOn = ["attempt.relayed", "dsn.queued"].includes(event) || "queue_id" in fields;
      if (isOther && !isWhole && !leadsOn) continue;
      for (const id of idsIn(fields)) if (!known.has(id)) fresh.add(id);
    }
    for (const id of fresh) known.add(id);
    wanted = windowsOf([...fresh], log.events);
  }
}

/** A range to search for some ids. */
interface Window extends TimeRange {
  readonly ids: Set<string>;
  /** Those that continue until the log says that they ended. */
  readonly open: Set<string>;
  /** Until when there may be more events of the others. */
  readonly needed: number;
}

/** The range to search for each of these ids, by the times of their events. */
function windowsOf(ids: readonly string[], events: readonly LoggedEvent[]): Window[] {
  const spans = new Map<string, { first: number; last: number }>();
  const wanted = new Set(ids);
  for (const { time, fields } of events) {
    for (const id of idsIn(fields)) {
      if (!wanted.has(id)) continue;
      const span = spans.get(id);
      if (span === undefined) spans.set(id, { first: time, last: time });
      else {
        span.first = Math.min(span.first, time);
        span.last = Math.max(span.last, time);
      }
    }
  }
  return ids.flatMap((id) => {
    const span = spans.get(id);
    if (span === undefined || !/^[A-Za-z0-9]+$/.test(id)) return [];
    const first = Math.min(span.first, timeOfId(id) ?? Infinity);
    const isQueued = !isReceivedId(id) && id.length >= 18;
    return [{
      ids: new Set([id]),
      open: new Set(isQueued ? [id] : []),
      since: first - SESSION,
      until: isQueued ? Infinity : span.last + SESSION,
      needed: span.last + SESSION,
    }];
  });
}

/** Merges overlapping windows. */
function joined(windows: readonly Window[]): Window[] {
  const all: { ids: Set<string>; open: Set<string>; since: number; until: number; needed: number }[] = [];
  for (const window of windows.toSorted((one, other) => one.since - other.since)) {
    const last = all.at(-1);
    if (last === undefined || window.since > last.until) {
      all.push({ ...window });
      continue;
    }
    for (const id of window.ids) last.ids.add(id);
    for (const id of window.open) last.open.add(id);
    last.until = Math.max(last.until, window.until);
    last.needed = Math.max(last.needed, window.needed);
  }
  return all;
}

/** Events by the ids that they mention, so that each story costs no more than its own events. */
class EventIndex {
  readonly #events: readonly LoggedEvent[];
  readonly #byId = new Map<string, number[]>();

  /** `events` in chronological order. */
  constructor(events: readonly LoggedEvent[]) {
    this.#events = events;
    events.forEach(({ fields }, place) => {
      for (const id of new Set(idsIn(fields))) {
        const places = this.#byId.get(id);
        if (places === undefined) this.#byId.set(id, [place]);
        else places.push(place);
      }
    });
  }

  /** Those that mention one of these ids, in chronological order. */
  of(ids: Iterable<string>): LoggedEvent[] {
    const places = new Set<number>();
    for (const id of ids) for (const place of this.#byId.get(id) ?? []) places.add(place);
    return [...places].sort((one, other) => one - other).flatMap((place) => this.#events[place] ?? []);
  }
}

/** The events that belong to a message. */
function storyOf(seed: string, index: EventIndex): Story {
  const ids = new Set([seed]);
  const sessions = new Set<string>();
  // Whether the seed is a session, which is requested as a whole.
  const whole = index.of([seed]).some(({ fields }) => fields["session"] === seed);
  if (whole) sessions.add(seed);
  // Grows while it is gone through.
  for (const id of ids) {
    for (const { fields } of index.of([id])) {
      const own = textsOf(fields["id"]);
      const ofSessions = textsOf(fields["session"]);
      const mentioned = idsIn(fields).filter((id) => !ofSessions.includes(id));
      const isOfSession = whole && fields["session"] === seed;
      if (!isOfSession && !mentioned.includes(id)) continue;
      for (const id of mentioned) ids.add(id);
      if (own.length > 0 || isOfSession) { for (const session of ofSessions) sessions.add(session); }
    }
  }
  const foreign = whole ? new Set<LoggedEvent>() : refusalsOfOthers(ids, { sessions, index });
  const mine = index.of(ids.union(sessions)).filter((event) => {
    if (foreign.has(event)) return false;
    const { fields } = event;
    const own = textsOf(fields["id"]);
    if (own.length > 0) return own.some((id) => ids.has(id));
    return textsOf(fields["session"]).some((session) => sessions.has(session)) ||
      idsIn(fields).some((id) => ids.has(id));
  });
  const inOrder = new Set(mine.flatMap(({ fields }) => idsIn(fields)).filter((id) => ids.has(id)));
  return { ids: [...inOrder.difference(sessions)], sessions: [...sessions], events: mine };
}

/** What ends a transaction. */
const ENDS: ReadonlySet<string> = new Set([
  "message.accepted",
  "message.refused",
  "message.left",
  "message.failed",
]);

/**
 * Commands that were refused in these sessions, and not in a transaction of these messages: a command has no id of a
 * message, so it belongs to the next message of its session.
 */
function refusalsOfOthers(
  ids: ReadonlySet<string>,
  { sessions, index }: { readonly sessions: ReadonlySet<string>; readonly index: EventIndex },
): ReadonlySet<LoggedEvent> {
  const others = new Set<LoggedEvent>();
  for (const session of sessions) {
    let pending: LoggedEvent[] = [];
    let hasMessage = false;
    for (const event of index.of([session])) {
      if (event.fields["session"] !== session) continue;
      if (event.event === "command.refused") pending.push(event);
      if (!ENDS.has(event.event)) continue;
      const isMine = textsOf(event.fields["id"]).some((id) => ids.has(id));
      hasMessage ||= isMine;
      if (!isMine) { for (const refusal of pending) others.add(refusal); }
      pending = [];
    }
    if (hasMessage) { for (const refusal of pending) others.add(refusal); }
  }
  return others;
}

/** Decides which further lines belong to these messages as they are written. */
export function followed(query: TraceQuery, stories: readonly Story[]): (event: LoggedEvent) => boolean {
  const known = new Set(stories.flatMap(({ ids, sessions }) => [...ids, ...sessions]));
  return (event) => {
    const mentioned = idsIn(event.fields);
    if (!isMeant(query, event) && !mentioned.some((id) => known.has(id))) return false;
    for (const id of mentioned) known.add(id);
    return true;
  };
}
