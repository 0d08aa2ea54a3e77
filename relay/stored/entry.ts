/**
 * What a queue makes of an entry that it has read: the summary for the scheduler, and what the journal adds.
 *
 * @module
 */
import type { QueueSummary } from "../queue.ts";
import { addAttempts, attemptLimits, isFinal, type QueueEntry, type QueueRecipient } from "../queue_entry.ts";
import { hasUndeliverable } from "../undeliverable.ts";

/** A final dot that was sent. */
export interface DotSent {
  /** The host it was sent to. */
  readonly host: string;
  /** Its IP address. */
  readonly address: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** Whether an earlier process wrote it, so that no answer will come. */
  readonly inherited: boolean;
  /** When it was sent at the latest, by our clock, as far as is known; that of another process may have been ahead. */
  before?: number;
}

/** What the journal knows of one entry that its state file may not know yet. */
export interface JournalEntry {
  /** Dots without an answer, by index of the recipient. */
  readonly sent: Map<number, DotSent>;
  /** Recipients that a server took, by index, with the dot that did it where that is known. */
  readonly relayed: Map<number, DotSent | undefined>;
  /** The entry is to go; its file may still be there. */
  removed: boolean;
}

/**
 * The entry as the scheduler keeps it; `undefined` when there is nothing to do for it.
 * @param options `age` of the entry; `domains`: one string for each domain, shared by the summaries
 */
export function summarize(
  entry: QueueEntry,
  { age, domains = new Map() }: { readonly age: number; readonly domains?: Map<string, string> },
): QueueSummary | undefined {
  const due: { domain: string; at: number }[] = [];
  for (const { status, domain, nextAttemptAt } of entry.recipients) {
    if (status !== "pending") continue;
    const known = due.find((item) => item.domain === domain);
    if (known !== undefined) known.at = Math.min(known.at, nextAttemptAt);
    else due.push({ domain: intern(domain, domains), at: nextAttemptAt });
  }
  return toSummary({ id: entry.id, age, due }, {
    unfinished: isUnfinished(entry),
    undeliverable: hasUndeliverable(entry),
  });
}

/** The summary, where there is something to do. */
export function toSummary(
  summary: QueueSummary,
  { unfinished, undeliverable }: { readonly unfinished: boolean; readonly undeliverable: boolean },
): QueueSummary | undefined {
  if (!unfinished && !undeliverable) return summary.due.length > 0 ? summary : undefined;
  return { ...summary, ...(unfinished && { unfinished }), ...(undeliverable && { undeliverable }) };
}

/** The one string for this domain. */
export function intern(domain: string, domains: Map<string, string>): string {
  const known = domains.get(domain);
  if (known !== undefined) return known;
  domains.set(domain, domain);
  return domain;
}

/** Whether something is left to do apart from sending; see {@linkcode QueueSummary.unfinished}. */
export function isUnfinished(entry: QueueEntry): boolean {
  return entry.recipients.some((recipient) =>
    recipient.notice !== undefined || (isFinal(recipient) && !recipient.settled)
  );
}

/** Whether all is settled, so that the entry can go. */
export function isDone(entry: QueueEntry): boolean {
  return entry.recipients.every((recipient) =>
    isFinal(recipient) && recipient.settled && recipient.notice === undefined
  );
}

/** What a state file with this recipient in it makes the journal free to forget. */
export function coverage(
  recipient: QueueRecipient,
): { readonly final: boolean; readonly dots: readonly number[] } {
  return {
    final: isFinal(recipient),
    dots: recipient.attempts.filter((item) => item.dotSentNoReply).map(({ at }) => at),
  };
}

/**
 * Adds to an entry what the journal knows and its state file does not: recipients that were relayed, and dots whose
 * answer a crash kept from us (RFC 1047).
 * @param options `now` and `resendAfter` in milliseconds: when an unanswered dot is followed by another attempt
 * @returns the recipients that got an attempt without an answer, with the dot
 */
export function applyJournal(
  entry: QueueEntry,
  { sent, relayed }: JournalEntry,
  options: { readonly now: number; readonly resendAfter: number },
): { readonly recipient: QueueRecipient; readonly dot: DotSent }[] {
  return entry.recipients.flatMap((recipient, index) => {
    const dot = sent.get(index);
    if (relayed.has(index)) markRelayed(recipient, { dot: relayed.get(index), entry });
    else if (dot?.inherited && markUnanswered(recipient, dot, { ...options, entry })) {
      return [{ recipient, dot }];
    }
    return [];
  });
}

function markRelayed(
  recipient: QueueRecipient,
  { dot, entry }: { dot: DotSent | undefined; entry: QueueEntry },
): void {
  if (isFinal(recipient)) return;
  recipient.status = "relayed";
  recipient.attemptCount++;
  // Without NOTIFY=SUCCESS no notice is due.
  recipient.settled = !(recipient.notify?.includes("SUCCESS") ?? false);
  if (dot === undefined) return;
  const { at, host, address } = dot;
  addAttempts(recipient, [{ at, host, address, status: "2.0.0" }], entry);
}

function markUnanswered(
  recipient: QueueRecipient,
  dot: DotSent,
  { now, resendAfter, entry }: { now: number; resendAfter: number; entry: QueueEntry },
): boolean {
  const { at, host, address } = dot;
  const { attempts } = recipient;
  const { count } = attemptLimits(entry.recipients.length);
  const oldest = attempts[0];
  // The state was written after all, or so long ago that this attempt has fallen out of it.
  if (isFinal(recipient) || attempts.some((item) => item.at === at && item.dotSentNoReply)) {
    return false;
  }
  if (attempts.length >= count && oldest !== undefined && oldest.at > at) return false;
  recipient.attemptCount++;
  // Kept, so that the entry is due at the same time whenever it is read.
  dot.before = Math.min(dot.before ?? at, now);
  recipient.nextAttemptAt = Math.max(recipient.nextAttemptAt, dot.before + resendAfter);
  const error = "no answer to the final dot: the process ended while it waited";
  addAttempts(recipient, [{ at, host, address, error, status: "4.4.2", dotSentNoReply: true }], entry);
  return true;
}
