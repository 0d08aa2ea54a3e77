/**
 * How an entry is stored in the tables: head and state are the texts of the spool's files, with their checks; what SQL
 * needs of them stands beside them once more.
 *
 * @module
 */
import type { QueueSummary } from "../queue.ts";
import type { NewEntry } from "../queue.ts";
import { isFinal, type QueueEntry } from "../queue_entry.ts";
import { hasUndeliverable } from "../undeliverable.ts";
import { applyJournal, toSummary } from "../stored/entry.ts";
import { LATEST_TIME } from "../stored/format_values.ts";
import { decodeHead, decodeState, encodeHead, encodeState } from "../stored/format.ts";

/** A row of the table of recipients, as JSON gives it to a statement. */
export interface RecipientRow {
  readonly number: number;
  readonly address: string;
  readonly domain: string;
  readonly status: string;
  readonly next_at: number;
  readonly settled: boolean;
  readonly notice: string | null;
}

/** A dot of a former owner that has no answer. */
export interface OpenDot {
  readonly recipient: number;
  readonly host: string;
  readonly address: string;
  readonly at: number;
  /** Until when its owner could have had an answer, by the database's clock; at most the present. */
  readonly until: number;
  readonly relayed: boolean;
}

/** `offset`: milliseconds to add to a time of ours to have one of the database; see `QueueTimes`. */
export interface Offset {
  readonly offset: number;
}

/** The head of an entry; `check` of its message. */
export function headText(entry: NewEntry, { check, offset }: Offset & { readonly check: string }): string {
  return encodeHead({ ...shifted(entry, offset), id: entry.id }, check);
}

/** The state of an entry. */
export function stateText(entry: QueueEntry, { offset }: Offset): string {
  return encodeState(shifted(entry, offset));
}

/** What SQL sees of the recipients. */
export function recipientRows(entry: QueueEntry, { offset }: Offset): RecipientRow[] {
  return entry.recipients.map(({ address, domain, status, nextAttemptAt, settled, notice }, number) => ({
    number,
    address: plain(address),
    domain: plain(domain),
    status,
    next_at: nextAttemptAt === 0 ? 0 : nextAttemptAt + offset,
    settled,
    notice: notice ?? null,
  }));
}

/** Text that a column takes: PostgreSQL has no NUL in texts. */
export function plain(text: string): string {
  return text.replaceAll("\0", "\ufffd").toWellFormed();
}

/**
 * When an entry is due, as far as recipients tell: milliseconds since the epoch by the database, Infinity = never. One
 * that is over is due at once: if this process does not remove it, another one must.
 */
export function dueAt(entry: QueueEntry, { offset }: Offset): number {
  if (entry.recipients.every(isFinal)) return 0;
  let due = Infinity;
  for (const recipient of entry.recipients) {
    const { status, nextAttemptAt, settled, notice } = recipient;
    if (status === "pending") due = Math.min(due, nextAttemptAt === 0 ? 0 : nextAttemptAt + offset);
    else if ((isFinal(recipient) && !settled) || notice !== undefined) return 0;
  }
  return due;
}

/**
 * Reads an entry.
 * @param row `dots` of former owners
 * @throws {SpoolFormatError} when it is damaged
 */
export function readEntry(
  row: {
    readonly id: string;
    readonly head: string;
    readonly state: string | null;
    readonly dots: readonly OpenDot[];
  },
  { offset, now, resendAfter }: Offset & { readonly now: number; readonly resendAfter: number },
): { readonly entry: QueueEntry; readonly messageCheck?: string } {
  const { entry: read, messageCheck } = decodeHead(row.head.trimEnd(), row.id);
  if (row.state !== null) decodeState(row.state, read);
  const entry = shifted(read, -offset);
  const sent = new Map<number, OpenDot & { readonly inherited: true; before: number }>();
  const relayed = new Map<number, OpenDot & { readonly inherited: true; before: number }>();
  for (const dot of row.dots) {
    const at = Math.min(Math.max(0, dot.at), LATEST_TIME);
    const before = Math.min(at, Math.max(0, dot.until - offset));
    (dot.relayed ? relayed : sent).set(dot.recipient, { ...dot, at, before, inherited: true });
  }
  if (row.dots.length > 0) applyJournal(entry, { sent, relayed, removed: false }, { now, resendAfter });
  return messageCheck === undefined ? { entry } : { entry, messageCheck };
}

/** What the scheduler is to know of an entry that SQL has found. */
export function summaryOf(
  row: {
    readonly id: string;
    readonly reverse_path: string;
    readonly early: boolean;
    readonly recipients: readonly Omit<RecipientRow, "address" | "number">[];
  },
  { offset, age }: Offset & { readonly age: number },
): QueueSummary {
  const due = new Map<string, number>();
  let unfinished = row.early;
  let undeliverable = false;
  for (const { status, domain, next_at, settled, notice } of row.recipients) {
    // No recipient of ours is without a domain: the entry itself must tell.
    if (domain === "") unfinished = true;
    else if (status === "pending") {
      const at = next_at === 0 ? 0 : next_at - offset;
      due.set(domain, Math.min(due.get(domain) ?? Infinity, at));
    } else if (status === "held") undeliverable ||= settled && row.reverse_path === "";
    else unfinished ||= !settled;
    unfinished ||= notice !== null;
  }
  const summary = { id: row.id, age, due: Array.from(due, ([domain, at]) => ({ domain, at })) };
  return toSummary(summary, { unfinished, undeliverable }) ?? summary;
}

/** The same of an entry in memory. */
export function summarizeEntry(entry: QueueEntry, age: number): QueueSummary {
  const rows = recipientRows(entry, { offset: 0 });
  const { id, reversePath: reverse_path } = entry;
  const summary = summaryOf({ id, reverse_path, early: false, recipients: rows }, { offset: 0, age });
  return hasUndeliverable(entry) ? { ...summary, undeliverable: true } : summary;
}

function shifted<T extends Pick<QueueEntry, "acceptedAt" | "recipients">>(entry: T, offset: number): T {
  if (offset === 0) return entry;
  return {
    ...entry,
    acceptedAt: Math.max(0, entry.acceptedAt + offset),
    recipients: entry.recipients.map((recipient) => ({
      ...recipient,
      nextAttemptAt: recipient.nextAttemptAt === 0 ? 0 : Math.max(1, recipient.nextAttemptAt + offset),
    })),
  };
}
