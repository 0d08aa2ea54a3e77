/**
 * What follows when it is known what has become of recipients: the notice to the sender, and the end of the entry.
 *
 * A crash at any point leaves neither two notices nor none. The order on disk:
 * 1. the outcome together with the id drawn for the notice (`notice` in the entry),
 * 2. the notice itself under that id, if it is not there yet,
 * 3. `settled` (or `delayNotified`) in the entry, and no `notice` any more,
 * 4. only then is the notice sent, and the entry removed once all is settled.
 * Since the notice is not sent before 3, it cannot have come and gone when a crash between 2 and 3 is made good.
 *
 * @module
 */
import { counters } from "../base/counters.ts";
import type { Logger } from "../base/log.ts";
import { NoticeError, type OpenEntry, StoreError } from "./open_entries.ts";
import type { NewEntry, Queue, QueueSummary } from "./queue.ts";
import {
  isFinal,
  lastAttempt,
  type QueueEntry,
  type QueueRecipient,
  recipientOctets,
} from "./queue_entry.ts";

const notices = counters("mailapp_dsn_queued_total", {
  help: "Notices to senders (RFC 3464) that were queued, by kind",
  labels: ["kind"],
});

/** `failure`: refused for good or tried too long; `delay`: still being tried; `success`: relayed to a server that sends no notices. */
export type NoticeKind = "failure" | "delay" | "success";

/** A notice to be written (RFC 3464). */
export interface NoticeRequest {
  /** The id of the notice. */
  readonly id: string;
  /** What has become of the recipients. */
  readonly kind: NoticeKind;
  /** The message it is about. With a null reverse-path it is a notice that is too large for those who get it. */
  readonly entry: QueueEntry;
  /** How old that is, as {@linkcode Queue.ageOf} tells. */
  readonly age: number;
  /** Those it is about: indices into the entry; at least one. */
  readonly recipients: readonly number[];
}

/**
 * Writes a notice: an entry with the null reverse-path, and the message. Where the message that it is about is a notice
 * itself, that once more with less of what it returns; `undefined` where nothing can be left out.
 */
export type ComposeNotice = (
  request: NoticeRequest,
) => Promise<{ readonly entry: NewEntry; readonly message: Uint8Array } | undefined>;

/** What {@linkcode settle} needs. */
export interface SettleOptions {
  /** Where the notice goes. */
  readonly queue: Queue;
  /** Takes `dsn.queued`, `dsn.shortened`, `dsn.unwanted`, `dsn.held`, `queue.done`. */
  readonly logger: Logger;
  /** Writes the notice. */
  readonly compose: ComposeNotice;
  /** From what age on a delay is told, in milliseconds. */
  readonly delayNoticeAfter: number;
  /** Takes over the notices, which may be sent from now on. */
  readonly submit: (notice: QueueSummary) => void;
}

/**
 * Stores the entry, then queues what notices are due and removes the entry if all is settled. While recipients are in
 * flight it only stores: what fails together is reported together.
 * @throws {StoreError} when one of these cannot be stored; called again, it continues where it stopped
 */
export async function settle(opened: OpenEntry, options: SettleOptions): Promise<void> {
  await opened.exclusively(async () => {
    if (opened.gone) return;
    const { entry } = opened;
    if (opened.inFlight.size > 0) return await opened.save();
    const groups = decide(entry, options);
    if (groups.length === 0 && isOver(entry)) return await end(opened, options);
    for (const { id, recipients } of groups) for (const recipient of recipients) recipient.notice = id;
    await opened.save();
    const failures: unknown[] = [];
    for (const group of groups) await notify(opened, group, options).catch((error) => failures.push(error));
    if (isOver(entry)) await end(opened, options);
    if (failures.length > 0) throw failures[0];
  });
}

interface Group {
  readonly id: string;
  readonly kind: NoticeKind;
  readonly recipients: QueueRecipient[];
}

// What a notice says of its recipients is bounded: the sender's server takes no message of any size.
const MAX_RECIPIENTS = 500;
const MAX_OCTETS = 256 * 1024;

/** Sorts the recipients that need something into notices, and settles those that need none. */
function decide(entry: QueueEntry, { queue, delayNoticeAfter, logger }: SettleOptions): Group[] {
  const delayed = queue.ageOf(entry) >= delayNoticeAfter;
  const begun = new Map<string, Group>();
  const fresh = new FreshGroups(queue);
  for (const recipient of entry.recipients) {
    const kind = noticeKind(recipient, delayed);
    if (kind === undefined) continue;
    if (recipient.notice !== undefined) {
      const group = begun.get(recipient.notice) ?? { id: recipient.notice, kind, recipients: [] };
      begun.set(group.id, group);
      group.recipients.push(recipient);
    } else if (entry.reversePath === "" && kind === "failure") {
      if (isTooLarge(recipient)) fresh.add(kind, recipient);
      else hold(entry, { recipient, logger });
    } else if (entry.reversePath !== "" && wants(recipient, kind)) {
      fresh.add(kind, recipient);
    } else {
      markTold(recipient, kind);
      if (kind !== "failure") continue;
      logger.info("dsn.unwanted", { id: entry.id, recipient: recipient.address, ...lastAnswer(recipient) });
    }
  }
  return [...begun.values(), ...fresh.all];
}

/** Notices to come: one of each kind, or as many as it takes to keep each within its bounds. */
class FreshGroups {
  readonly all: Group[] = [];
  readonly #queue: Pick<Queue, "newId">;
  readonly #open = new Map<NoticeKind, { readonly group: Group; octets: number }>();

  constructor(queue: Pick<Queue, "newId">) {
    this.#queue = queue;
  }

  add(kind: NoticeKind, recipient: QueueRecipient): void {
    const octets = octetsAbout(recipient);
    let open = this.#open.get(kind);
    if (
      open === undefined || open.group.recipients.length >= MAX_RECIPIENTS ||
      open.octets + octets > MAX_OCTETS
    ) {
      open = { group: { id: this.#queue.newId(), kind, recipients: [] }, octets: 0 };
      this.#open.set(kind, open);
      this.all.push(open.group);
    }
    open.octets += octets;
    open.group.recipients.push(recipient);
  }
}

/** About as much as a notice says of a recipient, to machines. */
function octetsAbout(recipient: QueueRecipient): number {
  const { reply = "", error = "", host = "" } = lastAttempt(recipient) ?? {};
  return recipientOctets(recipient) + reply.length + error.length + host.length;
}

/** Only the operator can be told (RFC 5321 §6.1). */
function hold(
  { id }: QueueEntry,
  { recipient, logger }: { readonly recipient: QueueRecipient; readonly logger: Logger },
): void {
  recipient.status = "held";
  recipient.settled = true;
  delete recipient.notice;
  logger.error("dsn.held", { id, recipient: recipient.address, ...lastAnswer(recipient) });
}

/** Whether it failed for its size, as far as codes and words tell; by RFC 5321 alone, 552 says so of a mailbox, too. */
function isTooLarge(recipient: QueueRecipient): boolean {
  const { status = "", reply = "" } = lastAttempt(recipient) ?? {};
  return /^[45]\.(?:3\.4|2\.3)$/.test(status) || reply.startsWith("552") ||
    /\btoo (?:big|large)\b|\bsize\b/i.test(reply.slice(0, 200));
}

function noticeKind(recipient: QueueRecipient, delayed: boolean): NoticeKind | undefined {
  switch (recipient.status) {
    case "failed":
    case "expired":
      return recipient.settled ? undefined : "failure";
    case "relayed":
      return recipient.settled ? undefined : "success";
    case "pending":
      return recipient.notice !== undefined || (delayed && !recipient.delayNotified) ? "delay" : undefined;
    case "removed":
      recipient.settled = true;
      delete recipient.notice;
      return undefined;
    case "held":
      return undefined;
  }
}

/** RFC 3461 §4.1; without NOTIFY, failures are reported, and delays where the server sees fit. */
function wants({ notify }: QueueRecipient, kind: NoticeKind): boolean {
  switch (kind) {
    case "failure":
      return notify === undefined || notify.includes("FAILURE");
    case "delay":
      return notify === undefined || notify.includes("DELAY");
    case "success":
      return notify?.includes("SUCCESS") ?? false;
  }
}

function markTold(recipient: QueueRecipient, kind: NoticeKind): void {
  if (kind === "delay") recipient.delayNotified = true;
  else recipient.settled = true;
  delete recipient.notice;
}

async function notify(
  opened: OpenEntry,
  { id, kind, recipients }: Group,
  options: SettleOptions,
): Promise<void> {
  const { entry } = opened;
  const { queue, logger, compose, submit } = options;
  const indices = recipients.map((recipient) => entry.recipients.indexOf(recipient));
  let notice: QueueEntry | undefined;
  let isElsewhere: boolean;
  try {
    notice = await queue.load(id);
    isElsewhere = notice === undefined && await queue.shared?.wasAdded(id) === true;
    if (notice === undefined && !isElsewhere) {
      const composed = await compose({ id, kind, entry, age: queue.ageOf(entry), recipients: indices });
      if (composed === undefined) {
        for (const recipient of recipients) hold(entry, { recipient, logger });
        return await opened.save();
      }
      await opened.persist(() => queue.add(composed.entry, composed.message));
      notice = composed.entry;
    }
  } catch (error) {
    throw error instanceof StoreError ? error : new NoticeError(entry.id, error);
  }
  const before = recipients.map(({ settled, delayNotified }) => ({ settled, delayNotified, notice: id }));
  for (const recipient of recipients) markTold(recipient, kind);
  try {
    await opened.save();
  } catch (error) {
    // Otherwise the notice that waits to be sent would be forgotten.
    recipients.forEach((recipient, index) => Object.assign(recipient, before[index]));
    // Who has the entry now finds the notice, and leaves it to its owner.
    if (opened.gone && notice !== undefined) submit(summaryOf(notice, queue));
    throw error;
  }
  notices.with(entry.reversePath === "" ? "shortened" : kind).add();
  const addresses = recipients.map(({ address }) => address);
  if (entry.reversePath === "") {
    logger.info("dsn.shortened", { id: entry.id, dsn: id, recipients: addresses });
  } else {
    logger.info("dsn.queued", { id: entry.id, dsn: id, kind, to: entry.reversePath, recipients: addresses });
  }
  if (notice === undefined) return;
  submit(summaryOf(notice, queue));
}

function summaryOf(notice: QueueEntry, queue: Pick<Queue, "ageOf">): QueueSummary {
  const due = notice.recipients.map(({ domain, nextAttemptAt }) => ({ domain, at: nextAttemptAt }));
  return { id: notice.id, age: queue.ageOf(notice), due };
}

function isOver(entry: QueueEntry): boolean {
  return entry.recipients.every((recipient) => isFinal(recipient) && recipient.settled);
}

async function end(opened: OpenEntry, { logger }: SettleOptions): Promise<void> {
  await opened.remove();
  logger.info("queue.done", { id: opened.entry.id });
}

function lastAnswer({ attempts }: QueueRecipient): Record<string, string | undefined> {
  const { host, reply, error } = attempts.at(-1) ?? {};
  return { host, reply, error };
}
