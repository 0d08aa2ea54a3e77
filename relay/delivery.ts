/**
 * Takes messages of local programs into the queue (RFC 6409, on loopback).
 *
 * @module
 */
import { Buffer, isAscii } from "node:buffer";
import type { Logger } from "../base/log.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import type { Delivery, Header, Origin, PendingMessage, RecipientDecision } from "../smtp/delivery.ts";
import type { Envelope, MailboxAddress, Recipient } from "../smtp/envelope.ts";
import { noRoom } from "../smtp/replies.ts";
import { reply, SmtpError } from "../smtp/reply.ts";
import { formatDate } from "../base/date.ts";
import type { FreeRoom } from "../storage/free_space.ts";
import type { SharedClaims } from "../storage/shared_claims.ts";
import type { MessageOnDisk, SpaceClaim, SpaceNeeds } from "../storage/space_reserve.ts";
import { SpaceReserve } from "../storage/space_reserve.ts";
import type { MessageSigner } from "./message_signer.ts";
import type { Queue, QueueDraft, QueueSummary } from "./queue.ts";
import { MAX_ENTRY_RECIPIENTS, MAX_ENVELOPE_OCTETS } from "./queue_entry.ts";
import { type Domains, envelopeOctets, qualify, queueRecipients } from "./queue_recipients.ts";
import { HeaderSection } from "../message/header_section.ts";
import { encodeParts, type EncodingRules, planEncoding } from "../message/short_lines.ts";
import { HeaderReader } from "../message/split_message.ts";
import { saysTlsOptional } from "../message/tls_required.ts";
import { SubmittedMessage } from "../message/submitted_message.ts";

/** What a {@linkcode QueueDelivery} needs. */
export interface QueueDeliveryOptions extends Domains {
  /** Where messages go. */
  readonly queue: Pick<Queue, "newId" | "begin">;
  /** The directory of the queue, whose file system must have room. */
  readonly directory: string;
  /** Probes, at first and after a failure, whether anything can be stored; rejects if not. Absent: nothing does. */
  readonly probe?: () => Promise<void>;
  /** Called with each durable message, so that it is sent at once. */
  readonly accepted: (summary: QueueSummary) => void;
  /** Stands in Message-ID. */
  readonly hostname: string;
  /** Octets that must stay free on that file system. */
  readonly minFreeSpace: number;
  /** Takes refusals for lack of space, and the repairs of messages. */
  readonly logger: Logger;
  /** Gives Date and the time of acceptance; default: the system's. */
  readonly clock?: Clock;
  /** What other threads claim in the directory; absent: there are none. */
  readonly claims?: SharedClaims;
  /** Tells the free room at a path; default: asks the system. */
  readonly room?: (path: string) => Promise<FreeRoom>;
  /** Begins to sign a message, by its queue id, with the fields that it will have; `undefined`: it is not signed. */
  readonly sign?: (id: string, section: HeaderSection) => MessageSigner | undefined;
}

// This many recipients always fit: each is one command line of at most 2,048 octets, and at most twice that in JSON.
const SURELY_FIT = 2000;
const ACCEPTED: RecipientDecision = { accepted: true };
const TOO_MANY: RecipientDecision = {
  accepted: false,
  reply: reply(452, "4.5.3", "Too many recipients; send to the others in another message"),
};

const encoder = new TextEncoder();

/**
 * A {@linkcode Delivery} into the queue: a message answered with 250 is on the disk, and will be relayed or reported
 * on.
 */
export class QueueDelivery implements Delivery {
  readonly #options: QueueDeliveryOptions;
  readonly #clock: Clock;
  /** Octets of large envelopes so far. */
  readonly #envelopes = new WeakMap<Envelope, number>();
  readonly #reserve: SpaceReserve;
  /** The latest message could not be stored, or it is not known yet whether any can be. */
  #failed: boolean;

  /** Does not touch the disk. */
  constructor(options: QueueDeliveryOptions) {
    this.#options = options;
    const clock = this.#clock = options.clock ?? systemClock;
    const { directory, logger, room, claims } = options;
    this.#failed = options.probe !== undefined;
    this.#reserve = new SpaceReserve({
      paths: () => [directory],
      minFreeSpace: () => options.minFreeSpace,
      clock,
      logger,
      ...(room && { room }),
      ...(claims && { shared: claims }),
    });
  }

  /**
   * Refuses when the message as announced would leave less room than is reserved, and while nothing can be stored.
   * @throws {SmtpError} 452 4.3.1 or 451 4.3.0
   */
  checkSender(
    { size = 0 }: Omit<Envelope, "recipients">,
    { origin }: { readonly origin: Origin },
  ): Promise<void> | void {
    const hasRoom = this.#reserve.has(roomFor(size), origin.id);
    if (this.#failed) return this.#tryAgain(hasRoom);
    if (hasRoom !== true) return needRoom(hasRoom);
  }

  async #tryAgain(hasRoom: Promise<boolean> | boolean): Promise<void> {
    await needRoom(hasRoom);
    await this.#options.probe?.();
    this.#failed = false;
  }

  /**
   * Accepts every recipient, since only sending can tell whether it is there, as long as the envelope is one that the
   * queue can take.
   */
  checkRecipient(recipient: Recipient, { envelope }: { readonly envelope: Envelope }): RecipientDecision {
    return this.#fits(recipient, envelope) ? ACCEPTED : TOO_MANY;
  }

  #fits(recipient: Recipient, envelope: Envelope): boolean {
    const { recipients } = envelope;
    if (recipients.length < SURELY_FIT) return true;
    if (recipients.length >= MAX_ENTRY_RECIPIENTS) return false;
    const octets = (this.#envelopes.get(envelope) ?? envelopeOctets(recipients, this.#options)) +
      envelopeOctets([recipient], this.#options);
    if (octets > MAX_ENVELOPE_OCTETS) return false;
    this.#envelopes.set(envelope, octets);
    return true;
  }

  /**
   * Begins a message.
   * @throws {SmtpError} 452 4.3.1
   */
  async begin(envelope: Envelope, { origin }: { readonly origin: Origin }): Promise<PendingMessage> {
    // Other messages have come since MAIL.
    const claim = await this.#reserve.claim(roomFor(envelope.size ?? 0), origin.id);
    if (claim === undefined) throw new SmtpError(noRoom);
    const { queue } = this.#options;
    return new PendingSubmission(queue.begin(queue.newId()), {
      ...this.#options,
      clock: this.#clock,
      envelope,
      claim,
      failed: () => this.#failed = true,
    });
  }
}

/** Octets from which a message is staged in a file until it is complete, and copied then. */
const WAITS_FROM = 256 * 1024;

function roomFor(size: number): SpaceNeeds {
  return { octets: [size > WAITS_FROM ? 2 * size : size], files: [1] };
}

async function needRoom(hasRoom: Promise<boolean> | boolean): Promise<void> {
  if (!await hasRoom) throw new SmtpError(noRoom);
}

interface PendingOptions extends QueueDeliveryOptions {
  readonly clock: Clock;
  readonly envelope: Envelope;
  readonly claim: SpaceClaim;
  /** Told where the message could not be stored. */
  readonly failed: () => void;
}

/** The properties of a complete message. */
interface Submitted {
  readonly draft: QueueDraft;
  readonly signer: MessageSigner | undefined;
  readonly eightBitHeader: boolean;
  readonly eightBitBody: boolean;
}

class PendingSubmission implements PendingMessage, MessageOnDisk {
  readonly #draft: QueueDraft;
  readonly #options: PendingOptions;
  readonly #submitted: SubmittedMessage;
  #signer: MessageSigner | undefined;
  #tlsOptional = false;
  readonly #pieces: Uint8Array[] = [];

  constructor(draft: QueueDraft, options: PendingOptions) {
    const { qualifyDomain, hostname, clock, envelope } = options;
    const { reversePath, smtputf8 } = envelope;
    this.#draft = draft;
    this.#options = options;
    this.#submitted = new SubmittedMessage({
      qualifyDomain,
      smtputf8,
      author: () => author(reversePath, options),
      date: () => formatDate(clock.now()),
      messageId: () => `<${draft.id}@${hostname}>`,
      begin: (section) => {
        this.#tlsOptional = envelope.requireTls === undefined && saysTlsOptional(section);
        return this.#signer = options.sign?.(draft.id, section);
      },
    });
    options.claim.message = this;
  }

  get id(): string {
    return this.#draft.id;
  }

  writtenIn(): number {
    const { size } = this.#draft;
    return size > WAITS_FROM ? size : 0;
  }

  write(chunk: Uint8Array): Promise<void> | void {
    this.#submitted.push(chunk, this.#pieces);
    return this.#flush();
  }

  async commit(prepend: readonly Header[]): Promise<void> {
    const { accepted } = this.#options;
    this.#submitted.finish(this.#pieces);
    await this.#flush();
    const { content } = this.#submitted;
    const { longLines, eightBitHeader, eightBitBody, header: { signed, repairs, left } } = content;
    const log: RepairLog = { repairs: [...repairs], left: [...left] };
    const came: Submitted = { draft: this.#draft, signer: this.#signer, eightBitHeader, eightBitBody };
    if (longLines && signed) log.left.push("lines of more than 998 octets: the message is signed");
    let summary: QueueSummary;
    try {
      summary = longLines && !signed
        ? await this.#commitShortLines(came, { prepend, log })
        : await this.#commitAs(came, prepend);
    } catch (error) {
      this.#options.failed();
      throw error;
    }
    this.#say(log);
    accepted(summary);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.#draft[Symbol.asyncDispose]();
    } finally {
      this.#options.claim[Symbol.dispose]();
    }
  }

  async #commitAs(
    { draft, signer, eightBitHeader, eightBitBody }: Submitted,
    prepend: readonly Header[],
  ): Promise<QueueSummary> {
    const { clock, envelope, qualifyDomain, claim } = this.#options;
    const signatures = await signer?.finish();
    const { reversePath, recipients, dsn, body, smtputf8, requireTls } = envelope;
    const fields = [...signatures ?? [], ...prepend];
    const top = encoder.encode(fields.map(({ name, value }) => `${name}: ${value}\r\n`).join(""));
    const octets = top.length + draft.size;
    const summary = await draft.commit({
      acceptedAt: clock.now(),
      reversePath: reversePath === null ? "" : qualify(reversePath, qualifyDomain).address,
      ...(dsn && { dsn }),
      body,
      smtputf8,
      ...(requireTls && { requireTls }),
      ...(this.#tlsOptional && { tlsOptional: true }),
      content: { eightBitHeader: eightBitHeader || !isAscii(top), eightBitBody },
      recipients: queueRecipients(recipients, this.#options),
    }, top);
    claim.settle([octets]);
    return summary;
  }

  /** Encodes the parts whose lines are too long, where possible, and commits the result. */
  async #commitShortLines(
    came: Submitted,
    { prepend, log }: { readonly prepend: readonly Header[]; readonly log: RepairLog },
  ): Promise<QueueSummary> {
    const plan = await planEncoding(came.draft.chunks(), LONG_LINES);
    log.left.push(...plan.left.map((reason) => `lines of more than 998 octets: ${reason}`));
    if (plan.parts.size === 0) return await this.#commitAs(came, prepend);
    const { queue, sign } = this.#options;
    await using draft = queue.begin(this.id);
    const reader = new HeaderReader();
    let signer: MessageSigner | undefined;
    let inBody = false;
    let eightBitBody = false;
    for await (const chunk of encodeParts(came.draft.chunks(), plan, LONG_LINES)) {
      const split = inBody ? undefined : reader.push(chunk);
      const body = inBody ? chunk : split?.rest;
      if (split !== undefined) {
        inBody = true;
        signer = sign?.(this.id, HeaderSection.of(split.section));
      }
      if (body !== undefined) {
        signer?.push(body);
        eightBitBody ||= !isAscii(body);
      }
      // The first one is not copied.
      const waits = came.draft.size > WAITS_FROM ? came.draft.size : 0;
      const [copies = 0] = roomFor(draft.size + chunk.length).octets;
      await needRoom(this.#claimRoom(waits + copies));
      await draft.write(chunk);
    }
    log.repairs.push("long lines encoded");
    return await this.#commitAs({ ...came, draft, signer, eightBitBody }, prepend);
  }

  #say({ repairs, left }: RepairLog): void {
    const { logger } = this.#options;
    if (repairs.length > 0) logger.info("message.repaired", { id: this.id, repairs });
    if (left.length > 0) logger.warn("message.left", { id: this.id, left });
  }

  /** Waits only where the draft does: most chunks stay in memory. */
  #flush(): Promise<void> | void {
    const pieces = this.#pieces;
    const size = pieces.reduce((sum, { length }) => sum + length, this.#draft.size);
    const hasRoom = this.#claimRoom(roomFor(size).octets[0] ?? 0);
    if (hasRoom !== true) return this.#flushFrom(0, needRoom(hasRoom));
    for (let i = 0; i < pieces.length; i++) {
      const written = this.#draft.write(pieces[i] ?? new Uint8Array());
      if (written !== undefined) return this.#flushFrom(i + 1, written);
    }
    pieces.length = 0;
  }

  async #flushFrom(from: number, before: Promise<void>): Promise<void> {
    await before;
    for (const piece of this.#pieces.slice(from)) await this.#draft.write(piece);
    this.#pieces.length = 0;
  }

  /** Claims room up to `octets` in all; whether there is room. */
  #claimRoom(octets: number): Promise<boolean> | boolean {
    const { claim } = this.#options;
    return claim.grow(0, Math.max(octets - claim.claimed(0), 0));
  }
}

/** What is logged of a message. */
interface RepairLog {
  readonly repairs: string[];
  readonly left: string[];
}

const LONG_LINES: EncodingRules = { eightBit: false, anyPart: false };

/** The value of From for a message without it: its sender, or else this server; one character an octet. */
function author(
  reversePath: MailboxAddress | null,
  { qualifyDomain }: Pick<QueueDeliveryOptions, "qualifyDomain">,
): string {
  const address = reversePath === null
    ? `MAILER-DAEMON@${qualifyDomain}`
    : qualify(reversePath, qualifyDomain).address;
  return Buffer.from(address).toString("latin1");
}
