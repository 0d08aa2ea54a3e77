/**
 * Handing messages to one host: the connection with its TLS ladder, the transactions, an outcome for each recipient.
 *
 * What it says when it fails: `failed` only where the server refused for good at MAIL, RCPT, DATA or the dot, or where
 * the message needs what the server has not got; all else is `deferred`. No other host may be tried once a dot may have
 * left.
 *
 * @module
 */
import { asciiForm, isAscii } from "../smtp/address.ts";
import type { OutgoingRecipient } from "../smtp/outgoing_message.ts";
import type { RecipientResult } from "../smtp/send_result.ts";
import type { SmtpClient } from "../smtp/client.ts";
import { inTransactions, RECIPIENTS_EVERYWHERE } from "../smtp/transactions.ts";
import type { EnhancedStatusCode } from "../smtp/reply.ts";
import { type AttemptEnd, attemptRecord, errorAt, faultStatus, temporaryStatus } from "./attempt_record.ts";
import type { Target } from "./mx.ts";
import type { Queue } from "./queue.ts";
import type { Attempt, QueueEntry, QueueRecipient, TlsDemand, TlsLevel } from "./queue_entry.ts";
import {
  type OpenFailure,
  openSession,
  type ReadySession,
  type SessionOptions,
  type Unanswered,
} from "./ready_session.ts";

/** A message to hand over. */
export interface TransmitMessage {
  /** Its entry; only read. */
  readonly entry: QueueEntry;
  /** Which recipients, as indices into the entry; all of the targets' domain. */
  readonly recipients: readonly number[];
  /** Where the message is, and where the dot and its answer are written down. */
  readonly queue: Pick<Queue, "open" | "dotSent" | "dotAnswered">;
}

/** What happened to one recipient in one try. */
export interface RecipientOutcome {
  /** Index into the entry's recipients. */
  readonly recipient: number;
  /** `deferred`: to be tried again later, or now at another host if `nextHost`. */
  readonly result: "relayed" | "failed" | "deferred";
  /** For the entry. */
  readonly attempt: Attempt;
  /** Whether another host may be tried at once. */
  readonly nextHost: boolean;
  /** Whether the server took over what the sender wants to be told (RFC 3461). */
  readonly dsnHandedOn: boolean;
}

/** An open connection to a host, ready for messages. */
export interface Opened {
  /** Tells it from a failure. */
  readonly kind: "open";
  /** The connection. */
  readonly connection: HostConnection;
  /** Where it leads, where that is an alternate of the target that was asked for. */
  readonly target?: Target;
  /** Other addresses that were asked and gave no connection. */
  readonly unanswered?: readonly Unanswered[];
}

export type { OpenFailure } from "./ready_session.ts";

/** What happened to a message on one connection. */
export interface HostResult {
  /**
   * In the order of the message's recipients. None for those that this connection does not take any more, by what the
   * server announced (RFC 9422): a fresh one does.
   */
  readonly outcomes: readonly RecipientOutcome[];
  /** Whether the connection takes another message. */
  readonly usable: boolean;
  /**
   * The connection had served before and ended without a word on this message, as servers do with idle ones: nothing
   * is wrong with the host, and a fresh connection to it is in order. Nothing of it is worth writing down.
   */
  readonly stale: boolean;
  /** Whether a recipient has the message, and that could not be stored. */
  readonly unrecorded?: boolean;
}

/** A connection to one host, past greeting, EHLO, TLS and login. One message at a time. */
export class HostConnection {
  /** Where it leads. */
  readonly target: Target;
  /** How it is protected. */
  readonly tls: TlsLevel;
  readonly #client: SmtpClient;
  readonly #options: SessionOptions;
  /** HELO was said in place of EHLO. */
  readonly #withoutEhlo: boolean;
  readonly #policy: TlsDemand | undefined;
  #messageCount = 0;
  #transactionCount = 0;
  readonly #domains = new Set<string>();
  /** Whether the final dot of a message has gone out, or is about to, and its reply is still to come. */
  #dotSent = false;
  #unrecorded = false;

  private constructor(
    { target, client, tls, policy, withoutEhlo }: ReadySession,
    options: SessionOptions,
  ) {
    this.target = target;
    this.tls = tls;
    this.#policy = policy;
    this.#client = client;
    this.#withoutEhlo = withoutEhlo;
    this.#options = options;
  }

  /** Connects, and gets ready for messages under the target's TLS policy. Never throws. */
  static async open(target: Target, options: SessionOptions): Promise<Opened | OpenFailure> {
    const session = await openSession(target, options);
    if (session.kind !== "ready") return session;
    const { target: reached, unanswered } = session;
    return { kind: "open", connection: new HostConnection(session, options), target: reached, unanswered };
  }

  /** Whether the connection has ended, by either side. */
  get closed(): boolean {
    return this.#client.closed;
  }

  /** Whether another message can be sent over it. */
  get usable(): boolean {
    return !this.#client.closed &&
      this.#transactionCount < (this.#client.capabilities.transactionsMax ?? Infinity);
  }

  /**
   * Sends a message to its recipients, in as many transactions as the server needs, and writes each dot and its answer
   * down in the queue. Never throws.
   */
  async send(message: TransmitMessage): Promise<HostResult> {
    const { entry } = message;
    const outcomes = new Map<number, RecipientOutcome>();
    const waiting: number[] = [];
    for (const recipient of message.recipients) {
      const obstacle = this.#obstacle(entry, entry.recipients[recipient]);
      if (obstacle === undefined) waiting.push(recipient);
      else outcomes.set(recipient, this.#unsent(recipient, obstacle));
    }
    this.#unrecorded = false;
    const reused = this.#messageCount++ > 0;
    let stale: boolean | undefined;
    const { recipientsMax = Infinity, recipientDomainsMax } = this.#client.capabilities;
    let latest: RecipientResult | undefined;
    let at = 0;
    const left = await inTransactions(waiting, {
      limit: Math.min(recipientsMax, RECIPIENTS_EVERYWHERE),
      ...(recipientDomainsMax !== undefined && {
        takes: (recipient) =>
          this.#takesDomain(entry.recipients[recipient]?.domain ?? "", recipientDomainsMax),
      }),
      usable: () => this.usable,
      transact: async (batch) => {
        at = this.#options.clock.now();
        const results = await this.#transact(message, batch, at);
        stale ??= reused && results.every(isStale);
        latest = results.at(-1);
        return results;
      },
      settled: (recipient, { result, tooMany }) =>
        outcomes.set(recipient, this.#outcome(recipient, result, { at, tooMany })),
    });
    // What the server does not take on this connection is not tried; what it might have taken had it not ended, is.
    for (const recipient of this.#client.closed ? left : []) {
      const error = "the connection ended before this recipient's turn";
      const result: RecipientResult = latest?.kind === "refused"
        ? latest
        : { kind: "lost", stage: "mail", fault: "closed", error, afterDot: false };
      outcomes.set(recipient, this.#outcome(recipient, result, { at: this.#options.clock.now() }));
    }
    return {
      outcomes: message.recipients.flatMap((recipient) => outcomes.get(recipient) ?? []),
      // Recipients are left where they would be too many for this connection.
      usable: this.usable && left.length === 0,
      stale: stale ?? (reused && left.length > 0),
      unrecorded: this.#unrecorded,
    };
  }

  /** Whether the connection takes another recipient in this domain, after those it had (RFC 9422 §4.3). */
  #takesDomain(domain: string, most: number): boolean {
    if (!this.#domains.has(domain) && this.#domains.size >= most) return false;
    this.#domains.add(domain);
    return true;
  }

  /** Says QUIT, waits a little for its answer, and ends the connection. Never throws; safe to call twice. */
  async close(): Promise<void> {
    await this.#client.quit();
  }

  /**
   * Ends the connection at once, and with it what is being sent.
   * @param options `unlessDotSent`: not where the final dot has gone out and its reply is still to come
   */
  abort({ unlessDotSent = false }: { readonly unlessDotSent?: boolean } = {}): void {
    if (!unlessDotSent || !this.#dotSent) this.#client.close();
  }

  async #transact(
    { entry, queue }: TransmitMessage,
    batch: readonly number[],
    at: number,
  ): Promise<readonly RecipientResult[]> {
    const { id, content, dsn, size, requireTls } = entry;
    const recipients = batch.flatMap((i) => entry.recipients[i] ?? []).map(outgoing);
    const reversePath = asciiForm(entry.reversePath) ?? entry.reversePath;
    const addresses = [reversePath, ...recipients.map((recipient) => recipient.address)];
    let written: readonly number[] = [];
    this.#transactionCount++;
    const { recipients: results, groupLost } = await this.#client.send({
      reversePath,
      recipients,
      ...(dsn && { dsn }),
      size,
      ...(requireTls && { requireTls }),
      eightBit: content.eightBitBody || content.eightBitHeader,
      smtputf8: content.eightBitHeader || !addresses.every(isAscii),
      chunks: async function* () {
        await using stored = await queue.open(id);
        yield* stored.chunks();
      },
      beforeDot: async (accepted) => {
        const { host, address } = this.target;
        const taken = accepted.flatMap((i) => batch[i] ?? []);
        this.#dotSent = true;
        await queue.dotSent(id, { recipients: taken, host, address, at });
        written = taken;
      },
    });
    this.#dotSent = false;
    if (groupLost) this.#options.peers.noteGroupLost(this.target);
    const first = written[0];
    const end = first === undefined ? undefined : results[batch.indexOf(first)];
    if (end !== undefined && !(end.kind === "lost" && end.afterDot)) {
      try {
        await queue.dotAnswered(id, { recipients: written, relayed: end.kind === "relayed" });
      } catch (error) {
        // The outcome stands; that it is not written down costs a duplicate if the process dies now.
        this.#unrecorded = end.kind === "relayed";
        this.#options.logger.error("queue.journal_failed", { id, error: String(error) });
      }
    }
    return results;
  }

  /** Why this server cannot take this message for this recipient. Decided by what is in it, not by what was declared. */
  #obstacle(entry: QueueEntry, recipient: QueueRecipient | undefined): Obstacle | undefined {
    const { smtputf8, eightBitMime, size } = this.#client.capabilities;
    const { host } = this.target;
    const unprotected = entry.requireTls ? this.#requireTlsObstacle() : undefined;
    if (unprotected !== undefined) {
      const error = `the sender demands REQUIRETLS, and ${unprotected}`;
      return { status: "5.7.30", error, nextHost: true };
    }
    if (recipient === undefined) return { status: "5.1.3", error: "no such recipient in the entry" };
    if (CONTROL.test(recipient.address) || CONTROL.test(entry.reversePath)) {
      return { status: "5.1.3", error: "an address holds control characters" };
    }
    if (!smtputf8) {
      if (asciiForm(recipient.address) === undefined || asciiForm(entry.reversePath) === undefined) {
        return { status: "5.6.7", error: `an address is not ASCII, and ${host} has no SMTPUTF8` };
      }
      if (entry.content.eightBitHeader) {
        return { status: "5.6.9", error: `a header field is not ASCII, and ${host} has no SMTPUTF8` };
      }
    }
    if (entry.content.eightBitBody && !eightBitMime) {
      return { status: "5.6.3", error: `the message has 8-bit content, and ${host} has no 8BITMIME` };
    }
    if (size !== undefined && size > 0 && entry.size > size) {
      return {
        status: "5.3.4",
        error: `the message has ${entry.size} octets, and ${host} takes at most ${size}`,
      };
    }
    return undefined;
  }

  /** Why a message with REQUIRETLS may not go here (RFC 8689 §4.2.1). */
  #requireTlsObstacle(): string | undefined {
    const { host, via, authenticated, sts } = this.target;
    // serve-in is this very machine.
    if (via === "local") return undefined;
    if (this.tls === "none") return `${host} has no TLS`;
    if (this.tls === "unverified") return `the certificate of ${host} cannot be verified`;
    if (via === "mx" && !authenticated && sts?.mode !== "enforce") {
      return `neither DNSSEC nor MTA-STS says that ${host} is a mail server of the domain`;
    }
    return this.#client.capabilities.requireTls ? undefined : `${host} does not offer it`;
  }

  #unsent(recipient: number, { status, error, nextHost = false }: Obstacle): RecipientOutcome {
    const now = this.#options.clock.now();
    if (this.#withoutEhlo) {
      // With EHLO it may turn out otherwise.
      this.#options.peers.forgetEhlo(this.target);
      const attempt = this.#attempt(now, { status: "4.4.2", error: `${error}, as it hung up at EHLO` });
      return { recipient, result: "deferred", attempt, nextHost: true, dsnHandedOn: false };
    }
    const attempt = this.#attempt(now, { status, error });
    return { recipient, result: "failed", attempt, nextHost, dsnHandedOn: false };
  }

  #outcome(
    recipient: number,
    result: RecipientResult,
    { at, tooMany = false }: { readonly at: number; readonly tooMany?: boolean },
  ): RecipientOutcome {
    if (result.kind === "relayed") {
      return {
        recipient,
        result: "relayed",
        attempt: this.#attempt(at, { status: result.reply.enhanced ?? "2.0.0", reply: result.reply }),
        nextHost: false,
        dsnHandedOn: this.#client.capabilities.dsn,
      };
    }
    if (result.kind === "refused") {
      const { reply, stage } = result;
      // By its code of RFC 821, "too many recipients" looks final; §4.5.3.1.10 has it that it is not.
      const final = reply.code >= 500 && !tooMany && !this.#isOutOfStep(result);
      return {
        recipient,
        result: final ? "failed" : "deferred",
        attempt: this.#attempt(at, {
          status: final ? reply.enhanced ?? "5.0.0" : temporaryStatus(reply),
          reply,
        }),
        nextHost: !final && stage !== "dot",
        dsnHandedOn: false,
      };
    }
    const { fault, afterDot, said } = result;
    const error = afterDot
      ? `no answer to the final dot: ${result.error}`
      : fault === "local"
      ? result.error
      : errorAt(result.stage, result.error);
    return {
      recipient,
      result: "deferred",
      attempt: this.#attempt(at, {
        status: faultStatus(fault),
        error,
        ...(said !== undefined && { said }),
        ...(afterDot && { dotSentNoReply: true }),
      }),
      nextHost: !afterDot && fault !== "local",
      dsnHandedOn: false,
    };
  }

  /**
   * Whether our own serve-in does not know a domain of ours: it has yet to be told of the configuration that we go by.
   * A refusal to relay by any other server is final.
   */
  #isOutOfStep({ stage, reply }: Extract<RecipientResult, { kind: "refused" }>): boolean {
    return this.target.via === "local" && stage === "rcpt" && reply.enhanced === "5.7.1";
  }

  #attempt(at: number, end: AttemptEnd): Attempt {
    const policy = this.#policy;
    return attemptRecord(this.target, at, { ...end, tls: this.tls, ...(policy !== undefined && { policy }) });
  }
}

interface Obstacle {
  readonly status: EnhancedStatusCode;
  readonly error: string;
  /** Whether another host may do better. */
  readonly nextHost?: boolean;
}

// deno-lint-ignore no-control-regex
const CONTROL = /[\u0000-\u001f\u007f]/;

function outgoing({ address, notify, originalRecipient }: QueueRecipient): OutgoingRecipient {
  return {
    address: asciiForm(address) ?? address,
    ...(notify && { notify }),
    ...(originalRecipient && { originalRecipient }),
  };
}

/** The connection had ended while it was idle. */
function isStale(result: RecipientResult): boolean {
  if (result.kind === "relayed" || (result.stage !== "mail" && result.stage !== "rset")) return false;
  return result.kind === "refused"
    ? result.reply.code === 421
    : result.fault === "closed" || result.fault === "timeout";
}
