/**
 * A message between the wire and the delivery: limits, line endings and the header section are seen to here, the same
 * way for DATA and BDAT.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { concat } from "../base/concat.ts";
import { DataReader } from "./data_reader.ts";
import type { Filing, HandedOn, Header, PendingMessage } from "./delivery.ts";
import type { InspectedData } from "./inspected_data.ts";
import type { Verdict } from "./inspector.ts";
import { MAX_FIELDS, MAX_HEADER_SECTION } from "../message/header_field.ts";
import { editHeader } from "../message/header_edits.ts";
import { HeaderFilter, type UnwantedField } from "../message/header_filter.ts";
import * as replies from "./replies.ts";
import { type Reply, reply, SmtpError } from "./reply.ts";
import type { ServerPolicy } from "./server_policy.ts";

/** Limits on one message. */
export interface MessageLimits {
  /** Octets with CRLF (RFC 1870). */
  readonly maxMessageSize: number;
  /** Received fields; one more is a loop (RFC 5321 §6.3). */
  readonly maxHops: number;
}

/** What there is to say when a message has failed. */
export interface MessageFailure {
  /** What the client is told. */
  readonly reply: Reply;
  /** Why, for the log; absent where the reply says it. */
  readonly cause?: unknown;
}

/** One message on its way in. After a failure it drops what there is, and goes on taking the data, to its true end. */
export class IncomingMessage implements AsyncDisposable {
  /** Why this message will be refused; the first reason stands. */
  failure: MessageFailure | undefined;
  readonly #pending: PendingMessage;
  readonly #reader: DataReader;
  readonly #filter: HeaderFilter;
  readonly #unwantedField: UnwantedField | undefined;
  readonly #limits: MessageLimits;
  readonly #refuseBare: boolean;
  readonly #inspected: InspectedData | undefined;
  #dropping: PromiseLike<void> | undefined;
  // Reused for each chunk: a connection has one flow of execution.
  readonly #pieces: Uint8Array[] = [];
  readonly #filtered: Uint8Array[] = [];

  /** Wraps what the delivery has begun. One message is either all DATA or all BDAT. */
  constructor(
    pending: PendingMessage,
    { by, policy, limits, inspected }: {
      readonly by: "DATA" | "BDAT";
      readonly policy: Pick<ServerPolicy, "bareLineEndings" | "unwantedField">;
      readonly limits: MessageLimits;
      /** `data` is given the data as it came, and disposed of with the message. */
      readonly inspected?: InspectedData | undefined;
    },
  ) {
    this.#pending = pending;
    this.#limits = limits;
    this.#inspected = inspected;
    this.#refuseBare = policy.bareLineEndings === "refuse";
    this.#reader = new DataReader({ dotStuffed: by === "DATA", bareLineEndings: policy.bareLineEndings });
    this.#unwantedField = policy.unwantedField;
    this.#filter = new HeaderFilter(policy.unwantedField);
  }

  /** The delivery's id of this message. */
  get id(): string {
    return this.#pending.id;
  }

  /** What its first Message-ID field says; absent where none has come. */
  get messageId(): string | undefined {
    return this.#filter.messageId;
  }

  /** Octets of mail data so far, CRLF counting as two. */
  get octets(): number {
    return this.#reader.octets;
  }

  /** Whether the true end of the data has been seen. */
  get ended(): boolean {
    return this.#reader.ended;
  }

  /** Whether a bare CR or LF has been seen, and refuses the message. */
  get refusedForLineEndings(): boolean {
    return this.#refuseBare && this.#reader.bare;
  }

  /** Takes mail data; returns how many bytes were consumed: all, unless the data has ended. */
  async write(chunk: Uint8Array): Promise<number> {
    const pieces = this.#pieces;
    pieces.length = 0;
    const consumed = this.#reader.push(chunk, pieces);
    await this.#deliver(pieces);
    return consumed;
  }

  /** Tells that counted data (BDAT LAST) is over. */
  async finish(): Promise<void> {
    const pieces: Uint8Array[] = [];
    this.#reader.finish(pieces);
    await this.#deliver(pieces);
  }

  /** Fails the message; the first reason stands. */
  fail(reply: Reply, cause?: unknown): void {
    this.failure ??= cause === undefined ? { reply } : { reply, cause };
  }

  /**
   * The inspector's verdict; nothing where there is no inspector. The data must have ended.
   * @throws {SmtpError} with the reply where the message has failed
   */
  async verdict(): Promise<Verdict | undefined> {
    this.#check();
    if (this.failure) throw new SmtpError(this.failure.reply, { cause: this.failure.cause });
    return await this.#inspected?.verdict();
  }

  /**
   * Makes the message durable. The data must have ended and nothing failed before.
   * @param verdict what {@linkcode IncomingMessage.verdict} gave
   * @returns as {@linkcode PendingMessage.commit}
   * @throws {SmtpError} with the reply
   */
  async commit(prepend: readonly Header[], verdict?: Verdict): Promise<HandedOn | void> {
    const rest: Uint8Array[] = [];
    this.#filter.finish(rest);
    for (const piece of rest) await this.#pending.write(piece);
    this.#check();
    if (this.failure) throw new SmtpError(this.failure.reply, { cause: this.failure.cause });
    return await this.#pending.commit(prepend, verdict && this.#filing(verdict));
  }

  #filing({ junk = false, edits = [] }: Verdict): Filing {
    // Where no field went on, what looked like a header section is none.
    const before = this.#filter.keptOctets === 0 ? [] : this.#inspected?.section.fields ?? [];
    const fields = edits.length === 0 ? undefined : editHeader(before, edits);
    if (fields === undefined) return { junk };
    // Fields that the delivery does not want are removed from these, too.
    const filter = new HeaderFilter(this.#unwantedField);
    const pieces: Uint8Array[] = [];
    filter.push(Buffer.from(fields.map(({ text }) => `${text}\r\n`).join(""), "latin1"), pieces);
    filter.finish(pieces);
    // Without a field it would be a body.
    const bytes = filter.keptOctets === 0 ? new Uint8Array(0) : concat(...pieces);
    return { junk, header: { octets: this.#filter.keptOctets, bytes } };
  }

  /** Drops what was not committed. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#inspected?.[Symbol.dispose]();
    await (this.#dropping ??= this.#pending[Symbol.asyncDispose]());
  }

  async #deliver(pieces: Uint8Array[]): Promise<void> {
    if (this.failure === undefined) this.#check();
    // A failed message frees its room at once, however long its data goes on. An error of that shows when it is
    // disposed.
    if (this.failure !== undefined) return await this[Symbol.asyncDispose]().catch(() => {});
    const filtered = this.#filtered;
    filtered.length = 0;
    for (const piece of pieces) this.#filter.push(piece, filtered);
    try {
      if (this.#inspected !== undefined) await this.#inspect(this.#inspected, pieces);
      for (const piece of filtered) {
        const written = this.#pending.write(piece);
        if (written !== undefined) await written;
      }
    } catch (error) {
      if (error instanceof SmtpError) this.fail(error.reply, error.cause ?? error);
      else this.fail(replies.localError, error);
    }
  }

  async #inspect(inspected: InspectedData, pieces: readonly Uint8Array[]): Promise<void> {
    for (const piece of pieces) {
      const seen = inspected.push(piece);
      if (seen !== undefined) await seen;
    }
    if (inspected.refusal !== undefined) this.fail(inspected.refusal);
  }

  #check(): void {
    if (this.refusedForLineEndings) {
      // §2.3.8: CR and LF stand together or not at all. What a lenient server makes of them is how mail is smuggled.
      this.fail(
        reply(550, "5.5.2", "The message has a bare CR or LF; lines end with CRLF (RFC 5321 section 2.3.8)"),
      );
    } else if (this.#reader.octets > this.#limits.maxMessageSize) {
      this.fail(replies.tooBig(this.#limits.maxMessageSize));
    } else if (this.#filter.octets > MAX_HEADER_SECTION) {
      this.fail(
        reply(
          552,
          "5.3.4",
          `The header section has more than ${MAX_HEADER_SECTION} octets; an empty line ends it`,
        ),
      );
    } else if (this.#filter.fieldCount > MAX_FIELDS) {
      this.fail(replies.tooManyFields);
    } else if (this.#filter.receivedCount > this.#limits.maxHops) {
      this.fail(
        reply(554, "5.4.6", `Too many hops: more than ${this.#limits.maxHops} Received fields; a mail loop`),
      );
    }
  }
}
