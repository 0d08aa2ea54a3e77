/**
 * Applies an attempt's results to a message: each recipient's status, when it is tried again, whether
 * that was the last time, and the log events.
 *
 * @module
 */
import { counters, histogram } from "../base/counters.ts";
import type { Logger } from "../base/log.ts";
import type { Clock } from "../base/clock.ts";
import type { NotedAnswers } from "../dns/noted_answers.ts";
import type { AttemptedRecipient, AttemptResult } from "./attempt.ts";
import { addAttempts, type QueueEntry, type QueueRecipient } from "./queue_entry.ts";
import { retryDelay, type RetrySchedule } from "./retry_schedule.ts";

const recipients = counters("mailapp_relay_attempts_total", {
  help: "What attempts came to, for each recipient, by result and enhanced status code",
  labels: ["result", "status"],
});
const relayTime = histogram(
  "mailapp_relay_seconds",
  "From accepting a message to relaying it, for each recipient",
  [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14_400, 86_400, 432_000],
);
const relayTls = counters("mailapp_relay_tls_total", {
  help: "Recipients that were relayed to, by how the connection was protected",
  labels: ["tls"],
});

/** Characters of the answers of DNS in one event. */
const MAX_ANSWERS = 2_000;
const MAX_RELAYED_ANSWERS = 500;

/** An attempt that was made. */
export interface AttemptOutcome {
  /** What it came to; see {@linkcode AttemptResult}. */
  readonly results: AttemptResult["results"];
  /** How old the message is, as {@linkcode Queue.ageOf} tells. */
  readonly age: number;
  /** Whether this process had tried it before. */
  readonly tried: boolean;
  /** What the hosts were found by. */
  readonly noted?: NotedAnswers | undefined;
}

/** What {@linkcode applyOutcome} needs. */
export interface OutcomeOptions {
  /** Tells the time. */
  readonly clock: Clock;
  /** Draws from [0, 1), for the jitter. */
  readonly random: () => number;
  /** Takes `attempt.relayed`, `attempt.failed`, `attempt.deferred`, `queue.expired`. */
  readonly logger: Logger;
  /** When to try again, and when to give up. */
  readonly schedule: RetrySchedule;
  /** Called for each recipient that a server refused, for good or for now. */
  readonly onRefusal?: (refusal: Refusal) => void;
}

/** A server's negative reply. */
export interface Refusal {
  /** The server's name. */
  readonly host: string;
  /** Enhanced status code. */
  readonly status: string;
  /** What it said. */
  readonly reply: string;
}

/**
 * Applies the results to the entry, in memory, and logs them.
 * @returns whether the attempt reached anybody; one without results says nothing against the destination
 */
export function applyOutcome(
  entry: QueueEntry,
  outcome: AttemptOutcome,
  { clock, random, logger, schedule, onRefusal }: OutcomeOptions,
): boolean {
  const { results } = outcome;
  const jitter = random();
  const answers = describe(outcome, clock.monotonic());
  let reached = results.size === 0;
  for (const [index, result] of results) {
    const recipient = entry.recipients[index];
    if (recipient === undefined) continue;
    const mayExpire = isLast(outcome, { entry, recipient, result, schedule, now: clock.monotonic() });
    addAttempts(recipient, result.attempts, entry);
    recipient.attemptCount++;
    switch (result.result) {
      case "relayed":
        recipient.status = "relayed";
        // The remote server notifies the sender, or no one does; otherwise our notice comes first.
        recipient.settled = result.dsnHandedOn || !(recipient.notify?.includes("SUCCESS") ?? false);
        break;
      case "failed":
        recipient.status = "failed";
        break;
      case "deferred":
        if (mayExpire) recipient.status = "expired";
        // Never sooner than the step of the schedule, however long the attempt took.
        else {recipient.nextAttemptAt = clock.now() + retryDelay(recipient.attemptCount, schedule, () =>
            jitter);}
    }
    reached ||= result.result !== "deferred" || (recipient.attempts.at(-1)?.reply !== undefined);
    count(recipient, outcome);
    log(entry, recipient, { logger, clock, answers });
    const last = recipient.attempts.at(-1);
    if (result.result !== "relayed" && last?.reply !== undefined) onRefusal?.({ ...last, reply: last.reply });
  }
  return reached;
}

/** The answers as the log has them: the first few where all went well. */
function describe({ results, noted }: AttemptOutcome, now: number): readonly string[] | undefined {
  if (noted === undefined || noted.isEmpty) return undefined;
  let relayed = true;
  for (const { result } of results.values()) relayed &&= result === "relayed";
  return noted.lines({ now, limit: relayed ? MAX_RELAYED_ANSWERS : MAX_ANSWERS });
}

/**
 * Whether this attempt, if it failed, is the last one. It is not for a message that merely looks too old: this process
 * must have tried it before, or an earlier one must have after its time was over.
 */
function isLast(
  { age, tried }: AttemptOutcome,
  { entry, recipient, result, schedule: { expireAfter }, now }: {
    entry: QueueEntry;
    recipient: QueueRecipient;
    result: AttemptedRecipient;
    schedule: RetrySchedule;
    now: number;
  },
): boolean {
  if (age < expireAfter) return false;
  // A failure that another message saw before the deadline is no attempt after it.
  if (result.learntAt !== undefined && result.learntAt < now - age + expireAfter) return false;
  return tried || recipient.attempts.some(({ at }) => at >= entry.acceptedAt + expireAfter);
}

function count({ status, attempts }: QueueRecipient, { age }: AttemptOutcome): void {
  const last = attempts.at(-1);
  recipients.with(status === "pending" ? "deferred" : status, last?.status ?? "none").add();
  if (status !== "relayed") return;
  relayTime.observe(age / 1000);
  relayTls.with(last?.tls ?? "none").add();
}

function log(
  { id }: QueueEntry,
  recipient: QueueRecipient,
  { logger, clock, answers }: Pick<OutcomeOptions, "logger" | "clock"> & {
    readonly answers: readonly string[] | undefined;
  },
): void {
  const { host, address, tls, policy, reply, error, status, dotSentNoReply } = recipient.attempts.at(-1) ??
    {};
  const fields = {
    id,
    recipient: recipient.address,
    host,
    address,
    tls,
    policy,
    status,
    reply,
    error,
    answers,
  };
  switch (recipient.status) {
    case "relayed":
      return logger.info("attempt.relayed", fields);
    case "failed":
      return logger.info("attempt.failed", fields);
    case "expired":
      return logger.info("queue.expired", { ...fields, attempts: recipient.attemptCount });
    default:
      return logger.info("attempt.deferred", {
        ...fields,
        ...(dotSentNoReply && { dot_sent_no_reply: true }),
        attempts: recipient.attemptCount,
        again_ms: Math.max(0, recipient.nextAttemptAt - clock.now()),
      });
  }
}
