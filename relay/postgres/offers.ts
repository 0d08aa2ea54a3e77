/**
 * What the scheduler is told of entries that this process has claimed.
 *
 * @module
 */
import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../base/log.ts";
import type { QueueSummary } from "../queue.ts";
import type { QueueEntry } from "../queue_entry.ts";
import type { Claimed } from "./claims.ts";
import { type Offset, summarizeEntry, summaryOf } from "./rows.ts";

/** What {@linkcode offerOf} needs of the queue. */
export interface OfferOptions extends Offset {
  readonly clock: Clock;
  /** Takes `attempt.deferred`. */
  readonly logger: Logger;
  /** Milliseconds since 1970 by the database's clock. */
  readonly now: () => number;
  /** Milliseconds since the entry was accepted. */
  readonly ageOf: (entry: Pick<QueueEntry, "id" | "acceptedAt">) => number;
  /** Reads an entry; `undefined` when it is gone or unreadable. */
  readonly read: (id: string) => Promise<QueueEntry | undefined>;
}

// Milliseconds; longer than the claims look ahead.
const EARLY = 10_000;

/** What the scheduler is to know of a claimed entry; `undefined` when it is gone. Reads only those with open dots. */
export async function offerOf(claimed: Claimed, options: OfferOptions): Promise<QueueSummary | undefined> {
  const { id, reverse_path, has_dots, recipients } = claimed;
  const { ageOf, now, read, offset } = options;
  if (has_dots) {
    const entry = await read(id);
    if (entry === undefined) return undefined;
    logUnanswered(entry, options);
    const summary = summarizeEntry(entry, ageOf(entry));
    // With all of its dots answered it may only have to be removed.
    return summary.due.length > 0 ? summary : { ...summary, unfinished: true };
  }
  const rows = recipients ?? [];
  const soon = now() + EARLY;
  // Offered sooner than any recipient is due, it has something else to be done.
  const early = rows.every(({ status, next_at }) => status !== "pending" || next_at > soon);
  const age = ageOf({ id, acceptedAt: 0 });
  return summaryOf({ id, reverse_path, early, recipients: rows }, { age, offset });
}

/** Logs the attempts that a former owner had no time to log, since second copies may follow. */
function logUnanswered({ id, recipients }: QueueEntry, { clock, logger }: OfferOptions): void {
  for (const { address: recipient, status: now, attempts, attemptCount, nextAttemptAt } of recipients) {
    const { host, address, status, error, dotSentNoReply } = attempts.at(-1) ?? {};
    if (now !== "pending" || !dotSentNoReply) continue;
    logger.info("attempt.deferred", {
      ...{ id, recipient, host, address, status, error },
      dot_sent_no_reply: true,
      attempts: attemptCount,
      again_ms: Math.max(0, nextAttemptAt - clock.now()),
    });
  }
}
