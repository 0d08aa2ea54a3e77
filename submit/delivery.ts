/**
 * Hands messages of people who have logged in to the server that relays: one transaction there for each transaction
 * here, each reply passed on in its place, the mail data streamed through. Nothing is stored here.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { Delivery, HandedOn, Header, Origin, PendingMessage } from "../smtp/delivery.ts";
import type { RecipientDecision, TopForecast } from "../smtp/delivery.ts";
import type { Envelope, Recipient, ReversePath } from "../smtp/envelope.ts";
import { mailCommand, rcptCommand } from "../smtp/outgoing_message.ts";
import { reply, SmtpError } from "../smtp/reply.ts";
import type { LoginLimits, LoginUse } from "./login_limits.ts";
import { queueIdOf } from "./passed_on.ts";
import { countRefusal } from "./refusal_counter.ts";
import type { Senders } from "./senders.ts";
import type { Upstream, UpstreamTransaction } from "./upstream.ts";

/** What it needs. */
export interface SubmissionDeliveryOptions {
  readonly upstream: Upstream;
  /** Who may send as whom; may be replaced. */
  readonly senders: Pick<Senders, "maySend">;
  /** What each login may send. */
  readonly limits: Pick<LoginLimits, "begin">;
}

/** A transaction here and its counterpart. */
class Submission implements AsyncDisposable {
  readonly upstream: UpstreamTransaction;
  readonly use: LoginUse;
  readonly id: string;

  constructor(upstream: UpstreamTransaction, use: LoginUse, id: string) {
    this.upstream = upstream;
    this.use = use;
    this.id = id;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.use[Symbol.dispose]();
    await this.upstream[Symbol.asyncDispose]();
  }
}

/** A {@linkcode Delivery} to the server that relays: a message is taken when that server has taken it. */
export class SubmissionDelivery implements Delivery {
  senders: SubmissionDeliveryOptions["senders"];
  readonly #upstream: Upstream;
  readonly #limits: SubmissionDeliveryOptions["limits"];
  /** By client; each has one transaction at a time. */
  readonly #open = new WeakMap<Origin, Submission>();
  readonly #prefix = crypto.randomUUID().slice(0, 8);
  #count = 0;

  /** Does not connect yet. */
  constructor({ upstream, senders, limits }: SubmissionDeliveryOptions) {
    this.#upstream = upstream;
    this.senders = senders;
    this.#limits = limits;
  }

  /**
   * Begins the transaction with the server that relays.
   * @returns it, to be ended with the client's
   * @throws {SmtpError} where the login may not send as this sender, or no more now; or with that server's reply
   */
  async checkSender(
    envelope: Omit<Envelope, "recipients">,
    { origin }: { readonly origin: Origin },
  ): Promise<AsyncDisposable> {
    const { login } = origin;
    if (login === undefined) throw new SmtpError(reply(530, "5.7.0", "Log in first (AUTH)"));
    const { reversePath, size, dsn, body, smtputf8, requireTls = false } = envelope;
    this.#requireOwn(login, reversePath);
    const use = this.#limits.begin(login);
    try {
      const transaction = await this.#upstream.begin((capabilities) =>
        mailCommand({
          reversePath: reversePath?.text ?? "",
          ...(size !== undefined && { size }),
          ...(dsn && { dsn }),
          eightBit: body === "8BITMIME",
          smtputf8,
          requireTls,
          // serve-out takes it without TLS, and cannot announce it.
        }, { ...capabilities, requireTls: true })
      );
      const submission = new Submission(transaction, use, `${this.#prefix}${(++this.#count).toString(36)}`);
      this.#open.set(origin, submission);
      return submission;
    } catch (error) {
      use[Symbol.dispose]();
      throw error;
    }
  }

  /** Names the recipient to the server that relays; its reply decides. */
  async checkRecipient(
    recipient: Recipient,
    { origin }: { readonly origin: Origin },
  ): Promise<RecipientDecision> {
    const { upstream, use } = this.#submissionOf(origin);
    const { forwardPath, notify, originalRecipient } = recipient;
    const refusal = use.refuses(forwardPath);
    if (refusal !== undefined) return { accepted: false, reply: refusal };
    const answer = await upstream.recipient((capabilities) =>
      rcptCommand({
        address: forwardPath.text,
        ...(notify && { notify }),
        ...(originalRecipient && { originalRecipient }),
      }, capabilities)
    );
    if (answer.code >= 300) return { accepted: false, reply: answer };
    use.add(forwardPath);
    return { accepted: true };
  }

  /**
   * Asks the server that relays for leave to send the message.
   * @throws {SmtpError} with its reply
   */
  async begin(
    _envelope: Envelope,
    { origin, forecast }: { readonly origin: Origin; readonly forecast?: TopForecast },
  ): Promise<PendingMessage> {
    const submission = this.#submissionOf(origin);
    await submission.upstream.beginData();
    return new PassingMessage(submission, forecast);
  }

  #requireOwn(login: string, reversePath: ReversePath): void {
    // Whatever answers by itself has no return address, such as a receipt for reading (RFC 8098 §3).
    if (reversePath === null || this.senders.maySend(login, reversePath)) return;
    countRefusal("sender");
    throw new SmtpError(reply(550, "5.7.1", `<${reversePath.text}> is not an address of ${login}`));
  }

  #submissionOf(origin: Origin): Submission {
    const submission = this.#open.get(origin);
    if (submission === undefined) throw new Error("no transaction is open");
    return submission;
  }
}

/** A message on its way through. */
class PassingMessage implements PendingMessage {
  readonly #submission: Submission;
  #forecast: TopForecast | undefined;
  #finished = false;

  constructor(submission: Submission, forecast: TopForecast | undefined) {
    this.#submission = submission;
    this.#forecast = forecast;
  }

  get id(): string {
    return this.#submission.id;
  }

  async write(chunk: Uint8Array): Promise<void> {
    await this.#writeTop();
    await this.#submission.upstream.write(chunk);
  }

  /** Ends the message; what was to stand on top went ahead of it. */
  async commit(): Promise<HandedOn> {
    await this.#writeTop();
    const { upstream, use } = this.#submission;
    this.#finished = true;
    const answer = await upstream.finish();
    use.taken();
    const queueId = queueIdOf(answer);
    return { reply: answer, log: queueId === undefined ? {} : { queue_id: queueId } };
  }

  /** Not committed, the message must come to nothing. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#finished) await this.#submission.upstream[Symbol.asyncDispose]();
  }

  async #writeTop(): Promise<void> {
    const forecast = this.#forecast;
    if (forecast === undefined) return;
    this.#forecast = undefined;
    await this.#submission.upstream.write(bytesOf(forecast.fields()));
  }
}

function bytesOf(fields: readonly Header[]): Uint8Array {
  return Buffer.from(fields.map(({ name, value }) => `${name}: ${value}\r\n`).join(""));
}
