/**
 * Figures of the log for today and yesterday: mail in and out, hour by hour, and refusals with their
 * reasons.
 *
 * @module
 */
import type { LogSource } from "../../observe/log_files.ts";
import type { LoggedEvent } from "../../observe/log_lines.ts";
import { type LineFinder, searchLog } from "../../observe/log_search.ts";
import { isReceivedId, textsOf } from "../../observe/trace_query.ts";
import { addressScope } from "../../net/ip_address.ts";
import { TopCounts } from "../../base/top_counts.ts";
import { reasonOf } from "../command_line/queue_summary.ts";

/** One hour, or one day. */
export interface Figures {
  /** Connections that ended, but for tests by this machine. */
  sessions: number;
  /** Messages that serve-in stored. */
  stored: number;
  /** Messages that serve-out took from programs of this machine. */
  submitted: number;
  /** Commands and messages that were refused, each recipient once; not those of this machine's own tests. */
  refused: number;
  /** Recipients that other servers took. */
  relayed: number;
  /** Attempts that will be retried. */
  deferred: number;
  /** Recipients that were refused for good, or given up. */
  failed: number;
  /** Logins to serve-submit. */
  loginsAccepted: number;
  /** Failed logins. */
  loginsRefused: number;
  /** Logins that were not checked: too many had failed before, or the accounts could not be asked. */
  loginsPutOff: number;
  /** Pauses that failed logins led to. */
  loginPauses: number;
  /** Limits for sending that logins have reached. */
  loginsLimited: number;
}

/** What the log says. */
export interface LogFigures {
  /** From midnight (UTC) of yesterday on. */
  readonly hours: readonly { readonly at: number; readonly figures: Figures }[];
  /** What was answered to clients most often, since yesterday. */
  readonly refusals: readonly Reason[];
  /** What others said to us most often. */
  readonly deferrals: readonly Reason[];
  /** What happened to attempts that a TLS policy applied to, since yesterday; by the policy's name, which is sorted. */
  readonly policies: readonly PolicyFigures[];
  /** Who sent the most from here, by messages that serve-out took. */
  readonly senders: readonly SenderFigures[];
  /** Who sent the most to us, by messages that serve-in stored. */
  readonly origins: readonly SenderFigures[];
  /** When each server last started to serve, by its name. */
  readonly started: ReadonlyMap<string, number>;
}

/** A sender, in lower case. */
export interface SenderFigures {
  /** The reverse-path; empty for notices. */
  readonly sender: string;
  readonly messages: number;
}

/** Attempts under one kind of TLS policy. */
export interface PolicyFigures {
  /** `configuration`, `dane`, `mta-sts` or `mta-sts-testing`. */
  readonly policy: string;
  /** Recipients that other servers took. */
  relayed: number;
  /** Attempts that will be retried, for whatever reason. */
  deferred: number;
  /** Recipients that were refused for good. */
  failed: number;
}

/** A reply, with its count. */
export interface Reason {
  /** Without what differs from message to message. */
  readonly words: string;
  /** How often. */
  readonly count: number;
}

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const TOP = 10;
/** Upper bound of distinct reasons. */
const MAX_REASONS = 2000;
/** Those that serve-out names in its log. */
const POLICIES = ["configuration", "dane", "mta-sts", "mta-sts-testing"];

const EVENTS: Readonly<Record<string, keyof Figures>> = {
  "message.refused": "refused",
  "command.refused": "refused",
  "connection.refused": "refused",
  "session.closed": "sessions",
  "attempt.relayed": "relayed",
  "attempt.deferred": "deferred",
  "attempt.failed": "failed",
  "queue.expired": "failed",
  "login.accepted": "loginsAccepted",
  "login.refused": "loginsRefused",
  "login.put_off": "loginsPutOff",
  "login.unavailable": "loginsPutOff",
  "login.paused": "loginPauses",
  "login.limited": "loginsLimited",
};

/** For each kind with a reply or an error that is worth counting, where. */
export const REASONS: Partial<Record<keyof Figures, "refusals" | "deferrals">> = {
  refused: "refusals",
  deferred: "deferrals",
  failed: "deferrals",
};

const WANTED =
  /(?:"event":"| )(?:message\.(?:accepted|refused)|(?:command|connection)\.refused|session\.closed|attempt\.(?:relayed|deferred|failed)|queue\.expired|login\.(?:accepted|refused|put_off|unavailable|paused|limited)|server\.ready)[" ]/g;

const findEvents: LineFinder = function* (piece) {
  WANTED.lastIndex = 0;
  for (let found = WANTED.exec(piece); found !== null; found = WANTED.exec(piece)) yield found.index;
};

/** What {@linkcode readFigures} needs. */
export interface FiguresOptions {
  /** The end of the time to read, in milliseconds since the epoch. */
  readonly now: number;
  /** Whether an IP address is one of this machine's. */
  readonly isOwnAddress: (address: string) => boolean;
}

/** Reads it since midnight of yesterday. */
export async function readFigures(
  sources: readonly LogSource[],
  { now, isOwnAddress }: FiguresOptions,
): Promise<LogFigures> {
  const since = Math.floor(now / DAY) * DAY - DAY;
  const hours = Array.from(
    { length: Math.floor((now - since) / HOUR) + 1 },
    (_, hour) => ({ at: since + hour * HOUR, figures: noFigures() }),
  );
  const refusals = new Map<string, number>();
  const deferrals = new Map<string, number>();
  const policies = new Map<string, PolicyFigures>();
  const senders = new TopCounts();
  const origins = new TopCounts();
  const started = new Map<string, number>();
  for await (const event of searchLog(sources, { find: findEvents, range: { since, until: now } })) {
    const hour = hours[Math.floor((event.time - since) / HOUR)]?.figures;
    if (hour === undefined) continue;
    countPolicy(event, policies);
    if (event.event === "server.ready") started.set(textsOf(event.fields["server"]).join(), event.time);
    const kind = figureOf(event, { isOwnAddress });
    if (kind === undefined) continue;
    hour[kind]++;
    if (kind === "submitted") senders.add(senderOf(event));
    if (kind === "stored") origins.add(senderOf(event));
    const reasons = REASONS[kind];
    if (reasons !== undefined) addReason(reasons === "refusals" ? refusals : deferrals, reasonIn(event));
  }
  return {
    hours,
    refusals: top(refusals),
    deferrals: top(deferrals),
    senders: topSenders(senders),
    origins: topSenders(origins),
    policies: [...policies.values()].sort((one, other) => one.policy < other.policy ? -1 : 1),
    started,
  };
}

function topSenders(counts: TopCounts): SenderFigures[] {
  return counts.top(TOP).map(({ name, count }) => ({ sender: name === "<>" ? "" : name, messages: count }));
}

/** The sender of a message in lower case; `<>` for notices. */
export function senderOf({ fields }: LoggedEvent): string {
  return textsOf(fields["from"]).join().toLowerCase() || "<>";
}

/** The reply to DATA after recipients that were all refused, as clients that pipeline get it. */
const NO_RECIPIENT = "503 5.5.1 No valid recipient";

/**
 * Whether a refused command says nothing new: DATA without a recipient follows from refused ones, and what serve-in
 * refuses to this machine is in the figures of serve-out, or a test by doctor, explain or healthcheck.
 */
function isCountedElsewhere(
  { event, fields }: LoggedEvent,
  isOwnAddress: FiguresOptions["isOwnAddress"],
): boolean {
  const { command, reply, peer, probe, server, hello } = fields;
  // A test for the greeting only, by status, the dashboard or another server, says nothing.
  if (event === "session.closed") {
    return probe !== undefined || (hello === undefined && typeof peer === "string" && isOwnAddress(peer));
  }
  if (event !== "command.refused") return false;
  if (probe !== undefined) return true;
  if (command === "DATA" && typeof reply === "string" && reply.startsWith(NO_RECIPIENT)) return true;
  // On standard error the server is not in the line; the clients of serve-out come from loopback.
  return typeof peer === "string" && server !== "serve-out" && isOwnAddress(peer) &&
    (server !== undefined || addressScope(peer) !== "loopback");
}

/** Which figure an event counts in; `undefined`: none, or it is counted elsewhere. */
export function figureOf(
  logged: LoggedEvent,
  { isOwnAddress }: Pick<FiguresOptions, "isOwnAddress">,
): keyof Figures | undefined {
  const { event, fields } = logged;
  if (event !== "message.accepted") {
    return isCountedElsewhere(logged, isOwnAddress) ? undefined : EVENTS[event];
  }
  // serve-submit hands it to serve-out, which says so too.
  if (fields["queue_id"] !== undefined) return undefined;
  return isReceivedId(textsOf(fields["id"]).join()) ? "stored" : "submitted";
}

/** What was said in an event, without what differs from message to message; empty if nothing was. */
export function reasonIn({ fields }: LoggedEvent): string {
  return reasonOf(textsOf(fields["reply"]).join() || textsOf(fields["error"]).join());
}

function countPolicy({ event, fields }: LoggedEvent, policies: Map<string, PolicyFigures>): void {
  const [, result] = /^attempt\.(relayed|deferred|failed)$/.exec(event) ?? [];
  const { policy } = fields;
  if (result === undefined || typeof policy !== "string" || !POLICIES.includes(policy)) return;
  const figures = policies.get(policy) ?? { policy, relayed: 0, deferred: 0, failed: 0 };
  figures[result as "relayed" | "deferred" | "failed"]++;
  policies.set(policy, figures);
}

function addReason(reasons: Map<string, number>, reason: string): void {
  if (reason !== "" && (reasons.has(reason) || reasons.size < MAX_REASONS)) {
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  }
}

function top(reasons: ReadonlyMap<string, number>): Reason[] {
  return Array.from(reasons, ([words, count]) => ({ words, count }))
    .sort((one, other) => other.count - one.count || (one.words < other.words ? -1 : 1)).slice(0, TOP);
}

/** Figures of zero. */
export function noFigures(): Figures {
  return {
    sessions: 0,
    stored: 0,
    submitted: 0,
    refused: 0,
    relayed: 0,
    deferred: 0,
    failed: 0,
    loginsAccepted: 0,
    loginsRefused: 0,
    loginsPutOff: 0,
    loginPauses: 0,
    loginsLimited: 0,
  };
}

/** The sum of some hours. */
export function sumOf(hours: readonly Figures[]): Figures {
  const sum = noFigures();
  for (const hour of hours) for (const key of Object.keys(sum) as (keyof Figures)[]) sum[key] += hour[key];
  return sum;
}
