/**
 * A queue entry: the envelope of one message, and the status of each recipient.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { BodyType, DsnOptions, Notify, OriginalRecipient } from "../smtp/envelope.ts";

/**
 * The status of a recipient. `pending` and `held` are open, the others are final:
 * `relayed` (a server took it), `failed` (refused for good), `expired` (tried too long), `removed` (by the operator).
 */
export type RecipientStatus = "pending" | "held" | "relayed" | "failed" | "expired" | "removed";

/** How a connection was protected: none, TLS with any certificate, TLS verified by name, TLS verified by DANE. */
export type TlsLevel = "none" | "unverified" | "verified" | "dane";

/**
 * What asked for TLS, in an attempt: the configuration ([serve-out.tls_policy] or a route), TLSA records, an MTA-STS
 * policy in mode enforce or testing.
 */
export type TlsDemand = "configuration" | "dane" | "mta-sts" | "mta-sts-testing";

/** What follows the error of an attempt that was not made, since another message had just met it at the host. */
export const SEEN_EARLIER = " (seen by an earlier attempt)";

/** One try to hand a message to a host, as it concerned one recipient. */
export interface Attempt {
  /** When it began, milliseconds since the epoch. */
  readonly at: number;
  /** The host's name, or the domain where no host was found. */
  readonly host: string;
  /** The IP address; absent where none was reached. */
  readonly address?: string;
  /** How the connection was secured; absent where there was none. */
  readonly tls?: TlsLevel;
  /** What asked for TLS; absent where nothing did. */
  readonly policy?: TlsDemand;
  /**
   * The remote server's reply, its lines with codes joined by LF; absent where there was none. With `error` as
   * well, the reply was incomplete or malformed.
   */
  readonly reply?: string;
  /** What happened where there is no usable reply: `connection refused`, `no answer to the final dot`. */
  readonly error?: string;
  /** The enhanced status of the outcome (RFC 3463), such as `4.4.1`. */
  readonly status: string;
  /** The dot was sent and no reply came: the message may have arrived (RFC 1047). */
  readonly dotSentNoReply?: boolean;
}

/** One recipient in the queue. */
export interface QueueRecipient {
  /** The forward-path, `local-part@domain`, qualified, as it goes into RCPT. */
  readonly address: string;
  /** Its domain in lower case with A-labels, the key for grouping; an address literal as it is. */
  readonly domain: string;
  /** NOTIFY= of RCPT. */
  readonly notify?: Notify;
  /** ORCPT= of RCPT. */
  readonly originalRecipient?: OriginalRecipient;
  /** Its status. */
  status: RecipientStatus;
  /** Attempts so far, of all that were made. */
  attemptCount: number;
  /** The latest attempts, oldest first; {@linkcode addAttempts} says how many. */
  attempts: Attempt[];
  /** When it is due, milliseconds since the epoch; 0 = at once. */
  nextAttemptAt: number;
  /** Whether the delay notice has been sent or is not wanted. */
  delayNotified: boolean;
  /** Whether the failure or success notice has been queued, or is not wanted; set before the entry is removed. */
  settled: boolean;
  /**
   * The queue id drawn for a notice about this recipient, present from before that notice is queued until it is known
   * to be: a crash between the two then makes neither two notices nor none.
   */
  notice?: string;
}

/** A message in the queue. */
export interface QueueEntry {
  /** The queue id: letters and digits only, safe as a file name, in logs and in replies. */
  readonly id: string;
  /** When it was accepted, milliseconds since the epoch. */
  readonly acceptedAt: number;
  /** The reverse-path without angle brackets; `""` is the null reverse-path. */
  readonly reversePath: string;
  /** RET= and ENVID= of MAIL. */
  readonly dsn?: DsnOptions;
  /** BODY= of MAIL. */
  readonly body: BodyType;
  /** Whether the client asked for SMTPUTF8. */
  readonly smtputf8: boolean;
  /** REQUIRETLS of MAIL (RFC 8689). */
  readonly requireTls?: true;
  /** `TLS-Required: No` in the header section (RFC 8689 §5), without REQUIRETLS: policies of receivers do not count. */
  readonly tlsOptional?: true;
  /** The message's size in octets with CRLF, prepended header fields included. */
  readonly size: number;
  /** Whether the message has a byte above 127: in the header section, in the body. By its content, not as declared. */
  readonly content: { readonly eightBitHeader: boolean; readonly eightBitBody: boolean };
  /** All of them, including final ones. */
  readonly recipients: QueueRecipient[];
}

/** A newly accepted recipient: due at once, and never tried. */
export function pendingRecipient(address: string, domain: string): QueueRecipient {
  return {
    address,
    domain,
    status: "pending",
    attemptCount: 0,
    attempts: [],
    nextAttemptAt: 0,
    delayNotified: false,
    settled: false,
  };
}

/** The most recipients of an entry: the state of all is rewritten after each attempt. */
export const MAX_ENTRY_RECIPIENTS = 10_000;

/** Octets of an entry's recipients, at most, as {@linkcode recipientOctets} counts them. */
export const MAX_ENVELOPE_OCTETS = 12 * 1024 ** 2;

/** What a recipient adds to an envelope, in octets of JSON. */
export function recipientOctets(
  { address, domain, notify, originalRecipient }: Omit<QueueRecipient, "status">,
): number {
  return Buffer.byteLength(JSON.stringify({ address, domain, notify, originalRecipient }));
}

/** Whether nothing more will be tried. */
export function isFinal({ status }: Pick<QueueRecipient, "status">): boolean {
  return status !== "pending" && status !== "held";
}

/** Whether the recipient is not final yet. */
export function isOpen(recipient: Pick<QueueRecipient, "status">): boolean {
  return !isFinal(recipient);
}

/**
 * How many attempts are kept of each recipient, and how many characters of a reply or an error: chosen so that the
 * state of the largest entry stays below 32 MiB, whatever servers say.
 * @param recipients how many the entry has
 */
export function attemptLimits(recipients: number): { readonly count: number; readonly characters: number } {
  if (recipients <= 200) return { count: 10, characters: 2000 };
  return recipients <= 1000 ? { count: 4, characters: 1000 } : { count: 2, characters: 300 };
}

/** Adds attempts to those of a recipient, within {@linkcode attemptLimits}; the oldest ones go. */
export function addAttempts(
  recipient: QueueRecipient,
  attempts: readonly Attempt[],
  { recipients }: Pick<QueueEntry, "recipients">,
): void {
  const { count, characters } = attemptLimits(recipients.length);
  const added = attempts.map(({ reply, error, ...rest }) => ({
    ...rest,
    ...(reply !== undefined && { reply: reply.slice(0, characters) }),
    ...(error !== undefined && { error: error.slice(0, characters) }),
  }));
  recipient.attempts = [...recipient.attempts, ...added].slice(-count);
}

/** The error in the record of an operator's bounce, which is not a real attempt. */
export const RETURNED_BY_OPERATOR = "returned by the operator";

/** The latest real attempt, where there was one; else the record in its place. */
export function lastAttempt({ attempts }: Pick<QueueRecipient, "attempts">): Attempt | undefined {
  return attempts.findLast(({ error }) => error !== RETURNED_BY_OPERATOR) ?? attempts.at(-1);
}
