/**
 * The seam between the protocol and what becomes of a message: the one thing that differs between the servers.
 *
 * @module
 */
import type { Envelope, Recipient } from "./envelope.ts";
import type { UnwantedField } from "../message/header_filter.ts";
import type { Reply } from "./reply.ts";
import type { Session } from "./session.ts";

/** Extensions that only some deliveries can honour; the protocol itself has the others. */
export type DeliveryExtension = "DSN";

/** What becomes of a recipient at RCPT. */
export type RecipientDecision = { readonly accepted: true } | {
  readonly accepted: false;
  readonly reply: Reply;
};

/** A header field to put on top of a message. */
export interface Header {
  /** The field's name, such as `Received`. */
  readonly name: string;
  /** The value, folded with CRLF and white space where it is long; no trailing CRLF. */
  readonly value: string;
}

/** What will stand on top of a message, told beforehand to a delivery that stores it as it comes. */
export interface TopForecast {
  /**
   * The fields that are known by now, which stay as they are. To be asked once {@linkcode PendingMessage.id} can be
   * read.
   */
  fields(): readonly Header[];
  /** Octets, as UTF-8 with CRLF, that fields may take which are known at the end; `undefined` while that is not known. */
  reserve(): number | undefined;
}

/** How a message is filed, where somebody has inspected it. */
export interface Filing {
  /** Whether it goes into the folder for junk; a delivery without one takes it as any other message. */
  readonly junk?: boolean;
  /** Another header section than the one that was written. */
  readonly header?: {
    /** What it replaces: so many octets from the beginning. */
    readonly octets: number;
    /** The fields, each with its CRLF. */
    readonly bytes: Uint8Array;
  };
}

/** Takes responsibility for messages. */
export interface Delivery {
  /** Extensions that this delivery honours, announced in EHLO. */
  readonly extensions: readonly DeliveryExtension[];
  /**
   * What a bare CR or LF in the mail data does: `refuse` the message (RFC 5321 §2.3.8), or `repair` it as one does
   * for local programs: bare LF becomes CRLF, bare CR a space, both before dot-unstuffing ends the data.
   */
  readonly bareLineEndings: "refuse" | "repair";
  /** Whether MAIL and RCPT may name a bare local-part, which this delivery completes (RFC 6409 §8). */
  readonly completesAddresses: boolean;
  /**
   * Where and how mail is submitted, one line of reply each: what AUTH is told (502). By default that this server
   * takes mail for its own recipients, and that others are reached by way of a provider.
   */
  readonly submissionAdvice?: readonly string[];
  /** Whether mail leaves SMTP here, which is where Return-Path is written (RFC 5321 §4.4); by default not. */
  readonly addsReturnPath?: boolean;
  /** Header fields that are taken out of the message; by default none. */
  readonly unwantedField?: UnwantedField;
  /**
   * Called at MAIL, before any recipient: refuses for want of space or by sender.
   * @throws {SmtpError} with the reply
   */
  checkSender?(envelope: Omit<Envelope, "recipients">, session: Session): Promise<void> | void;
  /** Accepts, or refuses with a reply, this recipient now; never later by a bounce. */
  checkRecipient(recipient: Recipient, session: Session): Promise<RecipientDecision> | RecipientDecision;
  /**
   * Called before 354, so that "no space" can answer DATA itself.
   * @param forecast of the header fields of {@linkcode PendingMessage.commit}, for a delivery that stores a message as
   * it comes
   * @throws {SmtpError} with the reply
   */
  begin(
    envelope: Envelope,
    session: Session,
    forecast?: TopForecast,
  ): Promise<PendingMessage> | PendingMessage;
}

/** A message on its way in. Disposed without commit (error, RSET, EHLO, close), it leaves nothing behind. */
export interface PendingMessage extends AsyncDisposable {
  /** Stands in Received, in the log and in the 250; safe in all three. */
  readonly id: string;
  /**
   * Takes mail data: dot-unstuffed, lines ending in CRLF, any bytes, cut anywhere. The chunk is only valid until
   * the returned promise settles (or until the call returns, if it returns nothing), since its buffer is used again.
   * @throws {SmtpError} with the reply for the end of the data, which is read to its end all the same
   */
  write(chunk: Uint8Array): Promise<void> | void;
  /**
   * Makes the message durable, with these header fields on top, first one first. Resolves only when file and directory
   * are synced: what follows is the 250.
   * @throws {SmtpError} with the reply; nothing is left behind then
   */
  commit(prepend: readonly Header[], filing?: Filing): Promise<void>;
}
