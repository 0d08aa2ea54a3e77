/**
 * The texts in the spool's files, and nothing else: heads of messages, states, lines of the journal. No I/O.
 * docs/queue.md describes them for whoever repairs a spool by hand.
 *
 * @module
 */
import type { BodyType, DsnOptions, Notify, OriginalRecipient } from "../../smtp/envelope.ts";
import type { NewEntry } from "../queue.ts";
import {
  boolean,
  checkKeys,
  integer,
  list,
  oneOf,
  record,
  SpoolFormatError,
  string,
  time,
} from "./format_values.ts";
import { seal, sealPretty, unseal } from "./seal.ts";
import type {
  Attempt,
  QueueEntry,
  QueueRecipient,
  RecipientStatus,
  TlsDemand,
  TlsLevel,
} from "../queue_entry.ts";

/** The version of heads, states and journal that this program writes; it reads this and older ones. */
export const SPOOL_VERSION = 1;

/** Octets of a head, at most; {@linkcode MAX_ENVELOPE_OCTETS} and what else stands there come to less. */
export const MAX_HEAD = 16 * 1024 ** 2;

/** What is in the first line of a message file. */
export interface SpoolHead {
  /** The entry as it was accepted. */
  readonly entry: QueueEntry;
  /** CRC-32 of the message after the head; absent where someone edited the file and took it out. */
  readonly messageCheck?: string;
}

/** A line of the journal: what must be durable before, or at the very moment when, a message changes hands. */
export type JournalRecord =
  | {
    readonly type: "dotSent";
    readonly id: string;
    readonly recipients: readonly number[];
    readonly host: string;
    readonly address: string;
    readonly at: number;
  }
  | {
    readonly type: "dotAnswered";
    readonly id: string;
    readonly recipients: readonly number[];
    readonly relayed: boolean;
  }
  | { readonly type: "removed"; readonly id: string };

/**
 * The first line of a message file, with its LF.
 * @param messageCheck CRC-32 of the message, eight hexadecimal digits: always as long, so that it can be filled in
 * when the message has been copied after it
 */
export function encodeHead(entry: NewEntry, messageCheck: string): string {
  const { id, acceptedAt, reversePath, dsn, body, smtputf8, size, content, recipients } = entry;
  const { requireTls, tlsOptional } = entry;
  return seal({
    mailapp: SPOOL_VERSION,
    id,
    acceptedAt,
    reversePath,
    dsn,
    body,
    smtputf8,
    requireTls,
    tlsOptional,
    size,
    content,
    recipients: recipients.map((recipient) => ({
      address: recipient.address,
      domain: recipient.domain,
      notify: recipient.notify,
      originalRecipient: recipient.originalRecipient,
      // Left out where it says what a fresh entry says, which keeps the head small and the scan fast.
      status: recipient.status === "pending" ? undefined : recipient.status,
      attemptCount: recipient.attemptCount || undefined,
      attempts: recipient.attempts.length === 0 ? undefined : recipient.attempts,
      nextAttemptAt: recipient.nextAttemptAt || undefined,
      delayNotified: recipient.delayNotified || undefined,
      settled: recipient.settled || undefined,
      notice: recipient.notice,
    })),
    message: messageCheck,
  }) + "\n";
}

/**
 * Reads the first line of a message file, without its LF.
 * @param id the file's name, which the head must repeat
 * @throws {SpoolFormatError}
 */
export function decodeHead(text: string, id: string): SpoolHead {
  const head = unseal(text);
  checkVersion(head);
  checkKeys(head, HEAD_KEYS);
  if (head.id !== id) throw new SpoolFormatError("the id inside is not the file's name");
  const content = record(head.content, "content");
  checkKeys(content, CONTENT_KEYS);
  const recipients = list(head.recipients, "recipients");
  if (recipients.length === 0) throw new SpoolFormatError("no recipients");
  const entry: QueueEntry = {
    id,
    acceptedAt: time(head.acceptedAt, "acceptedAt"),
    reversePath: string(head.reversePath, "reversePath"),
    ...(head.dsn === undefined ? {} : { dsn: dsnOptions(head.dsn) }),
    body: oneOf(head.body, BODIES, "body"),
    smtputf8: boolean(head.smtputf8, "smtputf8"),
    ...(head.requireTls !== undefined && boolean(head.requireTls, "requireTls") && { requireTls: true }),
    ...(head.tlsOptional !== undefined && boolean(head.tlsOptional, "tlsOptional") && { tlsOptional: true }),
    size: integer(head.size, "size"),
    content: {
      eightBitHeader: boolean(content.eightBitHeader, "eightBitHeader"),
      eightBitBody: boolean(content.eightBitBody, "eightBitBody"),
    },
    recipients: recipients.map(headRecipient),
  };
  return head.message === undefined
    ? { entry }
    : { entry, messageCheck: string(head.message, "message").toLowerCase() };
}

/** The text of a state file. */
export function encodeState(entry: QueueEntry): string {
  return sealPretty({
    mailapp: SPOOL_VERSION,
    id: entry.id,
    recipients: entry.recipients.map((recipient) => ({
      address: recipient.address,
      status: recipient.status,
      attemptCount: recipient.attemptCount,
      nextAttemptAt: recipient.nextAttemptAt,
      delayNotified: recipient.delayNotified,
      settled: recipient.settled,
      notice: recipient.notice,
      attempts: recipient.attempts,
    })),
  });
}

/**
 * Reads a state file into the entry that its head gave.
 * @throws {SpoolFormatError} and leaves the entry as it was
 */
export function decodeState(text: string, entry: QueueEntry): void {
  const state = unseal(text);
  checkVersion(state);
  checkKeys(state, STATE_KEYS);
  if (state.id !== entry.id) throw new SpoolFormatError("the id inside is not the file's name");
  const states = list(state.recipients, "recipients");
  if (states.length !== entry.recipients.length) {
    throw new SpoolFormatError("not the recipients of the message's head");
  }
  const decoded = states.map((value, index) => {
    const recipient = record(value, "recipient");
    checkKeys(recipient, STATE_RECIPIENT_KEYS);
    if (recipient.address !== entry.recipients[index]?.address) {
      throw new SpoolFormatError("not the recipients of the message's head");
    }
    return progress(recipient);
  });
  decoded.forEach((state, index) => {
    const recipient = entry.recipients[index];
    if (recipient === undefined) return;
    delete recipient.notice;
    Object.assign(recipient, state);
  });
}

/** A line of the journal, with its LF. */
export function encodeRecord(record: JournalRecord): string {
  switch (record.type) {
    case "dotSent": {
      const { id, recipients, host, address, at } = record;
      return seal({ dotSent: id, recipients, host, address, at }) + "\n";
    }
    case "dotAnswered":
      return seal({ dotAnswered: record.id, recipients: record.recipients, relayed: record.relayed }) + "\n";
    case "removed":
      return seal({ removed: record.id }) + "\n";
  }
}

/**
 * Reads a line of the journal, without its LF.
 * @throws {SpoolFormatError}
 */
export function decodeRecord(text: string): JournalRecord {
  const line = unseal(text);
  checkKeys(line, JOURNAL_KEYS);
  const recipients = () => list(line.recipients, "recipients").map((index) => integer(index, "recipients"));
  if ("dotSent" in line) {
    return {
      type: "dotSent",
      id: queueId(line.dotSent),
      recipients: recipients(),
      host: string(line.host, "host"),
      address: string(line.address, "address"),
      at: time(line.at, "at"),
    };
  }
  if ("dotAnswered" in line) {
    return {
      type: "dotAnswered",
      id: queueId(line.dotAnswered),
      recipients: recipients(),
      relayed: boolean(line.relayed, "relayed"),
    };
  }
  if ("removed" in line) return { type: "removed", id: queueId(line.removed) };
  throw new SpoolFormatError("a line of no known kind");
}

const ID = /^[0-9a-z]{8,32}$/;

/** Whether this can be a queue id, and so is safe as a file name. */
export function isQueueId(text: string): boolean {
  return ID.test(text);
}

const HEAD_KEYS = new Set([
  "mailapp",
  "id",
  "acceptedAt",
  "reversePath",
  "dsn",
  "body",
  "smtputf8",
  "requireTls",
  "tlsOptional",
  "size",
  "content",
  "recipients",
  "message",
  "check",
]);
const CONTENT_KEYS = new Set(["eightBitHeader", "eightBitBody"]);
const DSN_KEYS = new Set(["ret", "envelopeId"]);
const ORIGINAL_RECIPIENT_KEYS = new Set(["type", "address"]);
const PROGRESS_KEYS = [
  "status",
  "attemptCount",
  "attempts",
  "nextAttemptAt",
  "delayNotified",
  "settled",
  "notice",
];
const HEAD_RECIPIENT_KEYS = new Set(["address", "domain", "notify", "originalRecipient", ...PROGRESS_KEYS]);
const STATE_KEYS = new Set(["mailapp", "id", "recipients", "check"]);
const STATE_RECIPIENT_KEYS = new Set(["address", ...PROGRESS_KEYS]);
const ATTEMPT_KEYS = new Set([
  "at",
  "host",
  "address",
  "tls",
  "policy",
  "reply",
  "error",
  "status",
  "dotSentNoReply",
]);
const JOURNAL_KEYS = new Set([
  "dotSent",
  "dotAnswered",
  "removed",
  "recipients",
  "host",
  "address",
  "at",
  "relayed",
  "check",
]);

const BODIES: readonly BodyType[] = ["7BIT", "8BITMIME"];
const STATUSES: readonly RecipientStatus[] = ["pending", "held", "relayed", "failed", "expired", "removed"];
const TLS_LEVELS: readonly TlsLevel[] = ["none", "unverified", "verified", "dane"];
const TLS_DEMANDS: readonly TlsDemand[] = ["configuration", "dane", "mta-sts", "mta-sts-testing"];
const RETS = ["FULL", "HDRS"] as const;
const NOTIFIES = ["NEVER", "SUCCESS", "FAILURE", "DELAY"] as const;

function headRecipient(value: unknown): QueueRecipient {
  const recipient = record(value, "recipient");
  checkKeys(recipient, HEAD_RECIPIENT_KEYS);
  const original = recipient.originalRecipient;
  const address = string(recipient.address, "address");
  const domain = string(recipient.domain, "domain");
  if (!address.includes("@") || domain === "") throw new SpoolFormatError("a recipient without a domain");
  return {
    address,
    domain,
    ...(recipient.notify === undefined ? {} : { notify: notify(recipient.notify) }),
    ...(original === undefined ? {} : { originalRecipient: originalRecipient(original) }),
    ...progress(recipient),
  };
}

type Progress = Pick<
  QueueRecipient,
  "status" | "attemptCount" | "attempts" | "nextAttemptAt" | "delayNotified" | "settled" | "notice"
>;

function progress(recipient: Record<string, unknown>): Progress {
  const { status, attemptCount, attempts, nextAttemptAt, delayNotified, settled, notice } = recipient;
  return {
    status: status === undefined ? "pending" : oneOf(status, STATUSES, "status"),
    attemptCount: attemptCount === undefined ? 0 : integer(attemptCount, "attemptCount"),
    attempts: attempts === undefined ? [] : list(attempts, "attempts").map(attempt),
    nextAttemptAt: nextAttemptAt === undefined ? 0 : time(nextAttemptAt, "nextAttemptAt"),
    delayNotified: delayNotified === undefined ? false : boolean(delayNotified, "delayNotified"),
    settled: settled === undefined ? false : boolean(settled, "settled"),
    ...(notice === undefined ? {} : { notice: queueId(notice) }),
  };
}

function attempt(value: unknown): Attempt {
  const attempt = record(value, "attempt");
  checkKeys(attempt, ATTEMPT_KEYS);
  const { address, tls, policy, reply, error, dotSentNoReply } = attempt;
  return {
    at: time(attempt.at, "at"),
    host: string(attempt.host, "host"),
    ...(address === undefined ? {} : { address: string(address, "address") }),
    ...(tls === undefined ? {} : { tls: oneOf(tls, TLS_LEVELS, "tls") }),
    ...(policy === undefined ? {} : { policy: oneOf(policy, TLS_DEMANDS, "policy") }),
    ...(reply === undefined ? {} : { reply: string(reply, "reply") }),
    ...(error === undefined ? {} : { error: string(error, "error") }),
    status: string(attempt.status, "status"),
    ...(dotSentNoReply === undefined ? {} : { dotSentNoReply: boolean(dotSentNoReply, "dotSentNoReply") }),
  };
}

function dsnOptions(value: unknown): DsnOptions {
  const dsn = record(value, "dsn");
  checkKeys(dsn, DSN_KEYS);
  return {
    ...(dsn.ret === undefined ? {} : { ret: oneOf(dsn.ret, RETS, "ret") }),
    ...(dsn.envelopeId === undefined ? {} : { envelopeId: string(dsn.envelopeId, "envelopeId") }),
  };
}

function notify(value: unknown): Notify {
  return list(value, "notify").map((item) => oneOf(item, NOTIFIES, "notify"));
}

function originalRecipient(value: unknown): OriginalRecipient {
  const original = record(value, "originalRecipient");
  checkKeys(original, ORIGINAL_RECIPIENT_KEYS);
  return { type: string(original.type, "type"), address: string(original.address, "address") };
}

function checkVersion(value: Record<string, unknown>): void {
  const version = value.mailapp;
  if (version === SPOOL_VERSION) return;
  throw new SpoolFormatError(
    typeof version === "number" ? `unknown version ${version}` : "not one of our files: no version",
  );
}

function queueId(value: unknown): string {
  if (typeof value === "string" && isQueueId(value)) return value;
  throw new SpoolFormatError("not a queue id");
}
