/**
 * Handing messages to one host: the connection with its TLS ladder, the transactions, an outcome for each recipient.
 *
 * What it says when it fails: `failed` only where the server refused for good at MAIL, RCPT, DATA or the dot, or where
 * the message needs what the server has not got; all else is `deferred`. No other host may be tried once a dot may have
 * left.
 *
 * The ladder (RFC 7435, RFC 3207, RFC 7672) under the policy `prefer`: TLS with any certificate; where STARTTLS is
 * refused with 5xx or the handshake fails, plaintext on a fresh connection; where it is refused with 4xx, the host counts
 * as not available, and only if that is so again later, plaintext. Under any other policy, and where DNSSEC names a
 * certificate, the host counts as not available.
 *
 * @module
 */
import { isIP } from "node:net";
import { domainToASCII } from "node:url";
import { createHash, X509Certificate } from "node:crypto";
import type { Resolver, TlsaRecord } from "../dns/resolver.ts";
import type { Logger } from "../observe/log.ts";
import {
  type ClientTimeouts,
  DialogueError,
  type OutgoingRecipient,
  type RecipientResult,
  SmtpClient,
  type Stage,
} from "../smtp/client.ts";
import type { Clock } from "../smtp/clock.ts";
import type { EnhancedStatusCode } from "../smtp/reply.ts";
import { type RemoteReply, replyText } from "../smtp/reply_reader.ts";
import type { Transport } from "../smtp/transport.ts";
import type { ClientTlsInfo, clientUpgrade } from "../tls/client_upgrade.ts";
import type { Dial } from "./dial.ts";
import type { Target } from "./mx.ts";
import type { Queue } from "./queue.ts";
import type { Attempt, QueueEntry, QueueRecipient, TlsLevel } from "./queue_entry.ts";

/** Remembers which hosts refused STARTTLS with 4xx, and since when; at most 1,000 of them. */
export class StartTlsRefusals {
  readonly #since = new Map<string, number>();
  readonly #clock: Clock;

  /** Remembers nothing yet. */
  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Notes a refusal, and tells whether the first one lies so far back that this is a later attempt. */
  isOld(address: string): boolean {
    const now = this.#clock.monotonic();
    const since = this.#since.get(address);
    if (since !== undefined) return now - since >= PASSING;
    const [oldest] = this.#since.keys();
    if (oldest !== undefined && this.#since.size >= MAX_REFUSALS) this.#since.delete(oldest);
    this.#since.set(address, now);
    return false;
  }

  /** It has TLS again. */
  forget(address: string): void {
    this.#since.delete(address);
  }
}

/** What an attempt depends on. */
export interface TransmitOptions {
  /** What we call ourselves in EHLO. */
  readonly hostname: string;
  /** Tells the time. */
  readonly clock: Clock;
  /** How long each step of the dialogue may take. */
  readonly timeouts: ClientTimeouts;
  /** Connects. */
  readonly dial: Dial;
  /** Makes the TLS handshake. */
  readonly upgrade: typeof clientUpgrade;
  /** Authorities to verify against, as PEM, instead of the built-in ones. */
  readonly ca?: string | readonly string[];
  /** Hosts that refused STARTTLS for now; one for all connections. */
  readonly startTlsRefusals: StartTlsRefusals;
  /** Where DNS servers validate: looks up TLSA records, for `dane`. */
  readonly daneResolver?: Resolver;
  /** Takes what happened. */
  readonly logger: Logger;
  /** Sees the dialogue, secrets masked. */
  readonly onLine?: (side: "C" | "S", line: string) => void;
}

/** A message to hand over. */
export interface TransmitMessage {
  /** Its entry; only read. */
  readonly entry: QueueEntry;
  /** Which recipients, as indices into the entry; all of the targets' domain. */
  readonly recipients: readonly number[];
  /** Where the message is, and where the dot and its answer are written down. */
  readonly queue: Pick<Queue, "open" | "dotSent" | "dotAnswered">;
}

/** What became of one recipient in one try. */
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

/** Why there is no connection to a host. */
export interface OpenFailure {
  /** Tells it from a connection. */
  readonly kind: "unavailable";
  /** For the entry of each recipient. */
  readonly attempt: Attempt;
  /** Whether there was a connection at all. */
  readonly reached: boolean;
}

/** An open connection to a host, ready for messages. */
export interface Opened {
  /** Tells it from a failure. */
  readonly kind: "open";
  /** The connection. */
  readonly connection: HostConnection;
}

/** What became of a message on one connection. */
export interface HostResult {
  /** One per recipient, in the order of the message's. */
  readonly outcomes: readonly RecipientOutcome[];
  /** Whether the connection takes another message. */
  readonly usable: boolean;
  /**
   * The connection had served before and ended without a word on this message, as servers do with idle ones: nothing
   * is wrong with the host, and a fresh connection to it is in order. Nothing of it is worth writing down.
   */
  readonly stale: boolean;
}

// §4.5.3.1.8: what any server must take in one transaction.
const RECIPIENTS_MAX = 100;
const MAX_REPLY = 2000;
const MAX_REFUSALS = 1000;
// Milliseconds; less than the shortest time between two attempts.
const PASSING = 30_000;

/** A connection to one host, past greeting, EHLO, TLS and login. One message at a time. */
export class HostConnection {
  /** Where it leads. */
  readonly target: Target;
  /** How it is protected. */
  readonly tls: TlsLevel;
  readonly #client: SmtpClient;
  readonly #options: TransmitOptions;
  #messageCount = 0;

  private constructor(target: Target, session: ReadySession, options: TransmitOptions) {
    this.target = target;
    this.tls = session.tls;
    this.#client = session.client;
    this.#options = options;
  }

  /**
   * Connects, and gets ready for messages under the target's TLS policy. Never throws.
   * @param target Where to. @param options `signal`: gives up at once.
   */
  static async open(
    target: Target,
    options: TransmitOptions & { readonly signal?: AbortSignal },
  ): Promise<Opened | OpenFailure> {
    const { logger, startTlsRefusals } = options;
    const { host, address } = target;
    let session = await getReady(target, { ...options, plaintext: false });
    if (session.kind === "ready") startTlsRefusals.forget(address);
    const trouble = session.kind === "refused" ? session.tlsTrouble : undefined;
    if (session.kind === "refused" && trouble !== undefined && target.tls === "prefer") {
      const { error, reply } = session.attempt;
      if (trouble === "lasting" || startTlsRefusals.isOld(address)) {
        logger.warn("relay.tls-fallback", { host, address, reason: error ?? reply });
        session = await getReady(target, { ...options, plaintext: true });
      }
    }
    if (session.kind === "ready") {
      return { kind: "open", connection: new HostConnection(target, session, options) };
    }
    return { kind: "unavailable", attempt: session.attempt, reached: session.reached };
  }

  /** Messages sent over it so far. */
  get messageCount(): number {
    return this.#messageCount;
  }

  /** Whether another message can be sent over it. */
  get usable(): boolean {
    return !this.#client.closed;
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
    const reused = this.#messageCount++ > 0;
    let stale: boolean | undefined;
    const limit = Math.min(this.#client.capabilities.recipientsMax ?? RECIPIENTS_MAX, RECIPIENTS_MAX);
    let latest: RecipientResult | undefined;
    while (waiting.length > 0 && this.usable) {
      const batch = waiting.splice(0, limit);
      const at = this.#options.clock.now();
      const results = await this.#transact(message, batch, at);
      const progress = results.some((result) => result.kind === "relayed");
      for (const [i, recipient] of batch.entries()) {
        const result = results[i];
        if (result === undefined) continue;
        latest = result;
        // The server has enough for one transaction (§4.5.3.1.10); each turn settles at least one recipient.
        if (progress && isTooMany(result)) waiting.push(recipient);
        else outcomes.set(recipient, this.#outcome(recipient, result, at));
      }
      stale ??= reused && results.every(isStale);
    }
    for (const recipient of waiting) {
      const error = "the connection ended before this recipient's turn";
      const result: RecipientResult = latest?.kind === "refused"
        ? latest
        : { kind: "lost", stage: "mail", fault: "closed", error, afterDot: false };
      outcomes.set(recipient, this.#outcome(recipient, result, this.#options.clock.now()));
    }
    return {
      outcomes: message.recipients.flatMap((recipient) => outcomes.get(recipient) ?? []),
      usable: this.usable,
      stale: stale ?? false,
    };
  }

  /** Says QUIT, waits a little for its answer, and ends the connection. Never throws; safe to call twice. */
  async close(): Promise<void> {
    await this.#client.quit();
  }

  /** Ends the connection at once, and with it what is being sent. */
  abort(): void {
    this.#client.close();
  }

  async #transact(
    { entry, queue }: TransmitMessage,
    batch: readonly number[],
    at: number,
  ): Promise<readonly RecipientResult[]> {
    const { id, content, dsn, size } = entry;
    const recipients = batch.flatMap((i) => entry.recipients[i] ?? []).map(outgoing);
    const reversePath = asciiForm(entry.reversePath) ?? entry.reversePath;
    const addresses = [reversePath, ...recipients.map((recipient) => recipient.address)];
    let written: readonly number[] = [];
    const { recipients: results } = await this.#client.send({
      reversePath,
      recipients,
      ...(dsn && { dsn }),
      size,
      eightBit: content.eightBitBody || content.eightBitHeader,
      smtputf8: content.eightBitHeader || !addresses.every(isAscii),
      chunks: async function* () {
        await using stored = await queue.open(id);
        yield* stored.chunks();
      },
      beforeDot: async (accepted) => {
        const { host, address } = this.target;
        const taken = accepted.flatMap((i) => batch[i] ?? []);
        await queue.dotSent(id, { recipients: taken, host, address, at });
        written = taken;
      },
    });
    const first = written[0];
    const end = first === undefined ? undefined : results[batch.indexOf(first)];
    if (end !== undefined && !(end.kind === "lost" && end.afterDot)) {
      try {
        await queue.dotAnswered(id, { recipients: written, relayed: end.kind === "relayed" });
      } catch (error) {
        // The outcome stands; that it is not written down costs a duplicate if the process dies now.
        this.#options.logger.error("relay.journal-failed", { id, error: String(error) });
      }
    }
    return results;
  }

  /** Why this server cannot take this message for this recipient. Decided by what is in it, not by what was declared. */
  #obstacle(entry: QueueEntry, recipient: QueueRecipient | undefined): Obstacle | undefined {
    const { smtputf8, eightBitMime, size } = this.#client.capabilities;
    const { host } = this.target;
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

  #unsent(recipient: number, { status, error }: Obstacle): RecipientOutcome {
    return {
      recipient,
      result: "failed",
      attempt: this.#attempt(this.#options.clock.now(), { status, error }),
      nextHost: false,
      dsnHandedOn: false,
    };
  }

  #outcome(recipient: number, result: RecipientResult, at: number): RecipientOutcome {
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
      const final = reply.code >= 500 && stage !== "rset";
      return {
        recipient,
        result: final ? "failed" : "deferred",
        attempt: this.#attempt(at, {
          status: final ? reply.enhanced ?? "5.0.0" : temporary(reply),
          reply,
        }),
        nextHost: !final && stage !== "dot",
        dsnHandedOn: false,
      };
    }
    const { fault, afterDot } = result;
    const error = afterDot
      ? `no answer to the final dot: ${result.error}`
      : fault === "local"
      ? result.error
      : `${result.error} (${STAGES[result.stage]})`;
    return {
      recipient,
      result: "deferred",
      attempt: this.#attempt(at, {
        status: FAULT_STATUS[fault],
        error,
        ...(afterDot && { dotSentNoReply: true }),
      }),
      nextHost: !afterDot && fault !== "local",
      dsnHandedOn: false,
    };
  }

  #attempt(at: number, end: AttemptEnd): Attempt {
    return makeAttempt(this.target, at, { ...end, tls: this.tls });
  }
}

interface Obstacle {
  readonly status: EnhancedStatusCode;
  readonly error: string;
}

/** Past the opening of the dialogue. */
interface ReadySession {
  readonly kind: "ready";
  readonly client: SmtpClient;
  readonly tls: TlsLevel;
}

/** Not to be had. `tlsTrouble`: only for want of TLS, which may pass or not. */
interface RefusedSession {
  readonly kind: "refused";
  readonly attempt: Attempt;
  readonly reached: boolean;
  readonly tlsTrouble?: "passing" | "lasting";
}

/** Connects, and leads the dialogue to where MAIL may be said. */
async function getReady(
  target: Target,
  options: TransmitOptions & { readonly plaintext: boolean; readonly signal?: AbortSignal },
): Promise<ReadySession | RefusedSession> {
  const { clock, hostname, timeouts, onLine, signal } = options;
  const at = clock.now();
  let reached = false;
  const refused = (end: AttemptEnd, tlsTrouble?: "passing" | "lasting"): RefusedSession => ({
    kind: "refused",
    attempt: makeAttempt(target, at, end),
    reached,
    ...(tlsTrouble && { tlsTrouble }),
  });

  let dane: DaneNeed = { kind: "none" };
  if (!options.plaintext) {
    dane = await daneNeed(target, options);
    if (dane.kind === "impossible") return refused({ status: dane.status, error: dane.reason });
  }
  let transport: Transport;
  try {
    transport = await options.dial({ address: target.address, port: target.port }, {
      ...(signal && { signal }),
    });
  } catch (error) {
    return refused({ status: "4.4.1", error: errorText(error) });
  }
  reached = true;
  const client = new SmtpClient(transport, { hostname, clock, timeouts, ...(onLine && { onLine }) });
  let tls: TlsLevel = "none";
  const abort = () => client.close();
  signal?.addEventListener("abort", abort, { once: true });
  if (signal?.aborted) abort();
  try {
    const greeting = await client.greeting();
    if (greeting.code >= 400) return await leave(client, refused(refusal(greeting)));
    let hello = await client.hello();
    if (hello.code >= 400) return await leave(client, refused(refusal(hello)));

    const mustEncrypt = target.tls !== "prefer" || dane.kind !== "none";
    if (!options.plaintext && client.capabilities.startTls) {
      let handshaking = false;
      try {
        const { reply, tls: info } = await client.startTls((plain) => {
          handshaking = true;
          return options.upgrade(plain, {
            servername: target.host,
            // DANE has its own notion of a good certificate, looked at below.
            verify: target.tls === "verify" && dane.kind !== "records",
            ...(options.ca !== undefined && { ca: options.ca }),
          });
        });
        if (info === undefined) {
          const lasting = reply.code >= 500 ? "lasting" : "passing";
          const trouble = dane.kind !== "none" || reply.code === 421 ? undefined : lasting;
          return await leave(client, refused(refusal(reply), trouble));
        }
        tls = info.authorized ? "verified" : "unverified";
        if (dane.kind === "records") {
          if (!dane.records.some((record) => matchesTlsa(record, info))) {
            return await leave(
              client,
              refused({ status: "4.7.5", error: "the certificate is not the one that DANE names" }),
            );
          }
          tls = "dane";
        }
      } catch (error) {
        if (error instanceof DialogueError || !handshaking) throw error;
        client.close();
        const status = target.tls === "prefer" ? "4.4.2" : "4.7.5";
        return refused({ status, error: errorText(error) }, dane.kind === "none" ? "lasting" : undefined);
      }
      hello = await client.hello();
      if (hello.code >= 400) return await leave(client, refused({ ...refusal(hello), tls }));
    } else if (mustEncrypt) {
      return await leave(
        client,
        refused({ status: "4.7.4", error: "TLS is required, and the server does not offer it" }),
      );
    }

    if (target.auth !== undefined) {
      if (tls !== "verified" && tls !== "dane") {
        return await leave(client, refused({ status: "4.7.5", error: "no login without verified TLS", tls }));
      }
      const reply = await client.authenticate(target.auth);
      if (reply === undefined) {
        const error = "the server offers neither AUTH PLAIN nor AUTH LOGIN";
        return await leave(client, refused({ status: "4.7.8", error, tls }));
      }
      if (reply.code !== 235) return await leave(client, refused({ ...refusal(reply), tls }));
    }
    return { kind: "ready", client, tls };
  } catch (error) {
    client.close();
    if (!(error instanceof DialogueError)) return refused({ status: "4.3.0", error: errorText(error), tls });
    const text = `${error.message} (${STAGES[error.stage]})`;
    return refused({ status: FAULT_STATUS[error.fault], error: text, tls });
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}

async function leave(client: SmtpClient, session: RefusedSession): Promise<RefusedSession> {
  await client.quit();
  return session;
}

/** What DNSSEC asks of the certificate (RFC 7672 §2.2). */
type DaneNeed =
  /** Nothing. */
  | { readonly kind: "none" }
  /** TLS, with any certificate: there are records, but none that can be used. */
  | { readonly kind: "encrypt" }
  /** TLS, with one of these certificates. */
  | { readonly kind: "records"; readonly records: readonly TlsaRecord[] }
  /** It cannot be told, or the policy asks for more than there is. */
  | { readonly kind: "impossible"; readonly status: EnhancedStatusCode; readonly reason: string };

async function daneNeed(
  target: Target,
  { daneResolver: resolver, signal }: TransmitOptions & { readonly signal?: AbortSignal },
): Promise<DaneNeed> {
  const mandatory = target.tls === "dane";
  const none = (reason: string): DaneNeed =>
    mandatory
      ? { kind: "impossible", status: "4.7.5", reason: `DANE is required, but ${reason}` }
      : { kind: "none" };
  if (resolver === undefined) return none("the DNS servers are not trusted to validate (dnssec is off)");
  if (!target.authenticated || isIP(target.host) !== 0) {
    return none("DNSSEC does not vouch for the way to the host");
  }
  const answer = await resolver.tlsa(`_${target.port}._tcp.${target.host}`, { ...(signal && { signal }) });
  if (answer.kind === "failed") {
    // An attacker who can keep the records away must not gain plaintext by it.
    return { kind: "impossible", status: "4.4.3", reason: `TLSA of ${target.host}: ${answer.reason}` };
  }
  if (answer.kind !== "found" || !answer.authenticated) {
    return none(`${target.host} has no signed TLSA records`);
  }
  const records = answer.records.filter((record) =>
    record.usage === 3 && record.selector <= 1 && record.matchingType <= 2
  );
  if (records.length > 0) return { kind: "records", records };
  return mandatory ? none("its TLSA records are of kinds that are not used here") : { kind: "encrypt" };
}

/** Whether the server's own certificate is the one a DANE-EE record names (RFC 6698 §2.1, RFC 7671 §5.1). */
function matchesTlsa(record: TlsaRecord, { peerCertificate }: ClientTlsInfo): boolean {
  if (peerCertificate === undefined) return false;
  try {
    const part = record.selector === 0
      ? peerCertificate
      : new X509Certificate(peerCertificate).publicKey.export({ type: "spki", format: "der" });
    const seen = record.matchingType === 0
      ? part
      : createHash(record.matchingType === 1 ? "sha256" : "sha512").update(part).digest();
    return seen.length === record.data.length && record.data.every((byte, i) => byte === seen[i]);
  } catch {
    return false;
  }
}

/** How an attempt ended. */
interface AttemptEnd {
  readonly status: EnhancedStatusCode;
  readonly reply?: RemoteReply;
  readonly error?: string;
  readonly tls?: TlsLevel;
  readonly dotSentNoReply?: boolean;
}

function makeAttempt(target: Target, at: number, { reply, ...end }: AttemptEnd): Attempt {
  const { host, address } = target;
  return { at, host, address, ...end, ...(reply && { reply: replyText(reply).slice(0, MAX_REPLY) }) };
}

function refusal(reply: RemoteReply): AttemptEnd {
  return { status: temporary(reply), reply };
}

/** The status of a reply that does not end it: what refuses a connection for good may take it tomorrow. */
function temporary({ enhanced }: RemoteReply): EnhancedStatusCode {
  return enhanced === undefined ? "4.0.0" : `4${enhanced.slice(1)}` as EnhancedStatusCode;
}

const FAULT_STATUS: Readonly<Record<DialogueError["fault"], EnhancedStatusCode>> = {
  timeout: "4.4.2",
  closed: "4.4.2",
  malformed: "4.5.0",
  local: "4.3.0",
};

const STAGES: Readonly<Record<Stage, string>> = {
  greeting: "waiting for the greeting",
  hello: "after EHLO",
  starttls: "after STARTTLS",
  auth: "after AUTH",
  mail: "after MAIL",
  rcpt: "after RCPT",
  data: "in the mail data",
  dot: "after the final dot",
  rset: "after RSET",
  quit: "after QUIT",
};

// deno-lint-ignore no-control-regex
const CONTROL = /[\u0000-\u001f\u007f]/;

function isAscii(text: string): boolean {
  // deno-lint-ignore no-control-regex
  return /^[\u0000-\u007f]*$/.test(text);
}

/** The address with its domain in A-labels; `undefined` where the local-part is not ASCII either. */
function asciiForm(address: string): string | undefined {
  if (isAscii(address)) return address;
  const at = address.lastIndexOf("@");
  const domain = domainToASCII(address.slice(at + 1));
  return at === -1 || domain === "" || !isAscii(address.slice(0, at))
    ? undefined
    : `${address.slice(0, at)}@${domain}`;
}

function outgoing({ address, notify, originalRecipient }: QueueRecipient): OutgoingRecipient {
  return {
    address: asciiForm(address) ?? address,
    ...(notify && { notify }),
    ...(originalRecipient && { originalRecipient }),
  };
}

/** "Too many recipients" (§4.5.3.1.10), by its proper code or the one of RFC 821. */
function isTooMany(result: RecipientResult): boolean {
  if (result.kind !== "refused" || result.stage !== "rcpt") return false;
  const { code, enhanced } = result.reply;
  return (code === 452 || code === 552) && (enhanced === undefined || enhanced.endsWith(".5.3"));
}

/** The connection had ended while it was idle. */
function isStale(result: RecipientResult): boolean {
  if (result.kind === "relayed" || (result.stage !== "mail" && result.stage !== "rset")) return false;
  return result.kind === "refused"
    ? result.reply.code === 421
    : result.fault === "closed" || result.fault === "timeout";
}

function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
