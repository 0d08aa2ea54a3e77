/**
 * The seam between the protocol and what happens to a message: the one thing that differs between the servers.
 *
 * @module
 */
import type { Envelope, Recipient } from "./envelope.ts";
import type { SocketAddress } from "../net/transport.ts";
import type { LogFields } from "../base/log.ts";
import type { Reply } from "./reply.ts";

/** Where a message comes from: a client, or this program itself. */
export interface Origin {
  /** Joins what the log has of the message to its source: the session's id, or a word for what made the message. */
  readonly id: string;
  /** The client's end, where there is one. */
  readonly remote?: SocketAddress;
  /** The end that the client has connected to. */
  readonly local?: SocketAddress;
  /** Who logged in (RFC 4954), by the account's name. */
  readonly login?: string | undefined;
}

/** What happens to a recipient at RCPT. */
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

/** The fields that will go on top of a message, announced to a delivery that stores it as it comes. */
export interface TopForecast {
  /**
   * The fields that are known by now, which stay as they are. To be asked once {@linkcode PendingMessage.id} can be
   * read.
   */
  fields(): readonly Header[];
  /**
   * Octets, as UTF-8 with CRLF, that fields may take which are known at the end; `undefined` while that is not known.
   */
  reserve(): number | undefined;
}

/** The reply of another server that accepted the message. */
export interface HandedOn {
  /** Passed on to the client. */
  readonly reply: Reply;
  /** Fields for `message.accepted`, such as the other server's id of the message. */
  readonly log: LogFields;
}

/** How a message is filed, where someone has inspected it. */
export interface Filing {
  /** Whether it goes into the folder for junk; a delivery without one takes it as any other message. */
  readonly junk?: boolean;
  /** Another header section than the one that was written. */
  readonly header?: {
    /** How many octets from the beginning it replaces. */
    readonly octets: number;
    /** The fields, each with its CRLF. */
    readonly bytes: Uint8Array;
  };
}

/**
 * Takes responsibility for messages: what differs between servers. How they treat clients is their
 * {@linkcode ServerPolicy}.
 */
export interface Delivery {
  /**
   * Called at MAIL, before any recipient: refuses for want of space or by sender.
   * @returns what is to be disposed when the transaction is over, however it ends, after its message
   * @throws {SmtpError} with the reply
   */
  checkSender?(
    envelope: Omit<Envelope, "recipients">,
    context: { readonly origin: Origin },
  ): Promise<AsyncDisposable | void> | AsyncDisposable | void;
  /**
   * Accepts, or refuses with a reply, this recipient now; never later by a bounce.
   * @param context `envelope`: as it is so far, with the recipients that were accepted; one object for one message
   */
  checkRecipient(
    recipient: Recipient,
    context: { readonly envelope: Envelope; readonly origin: Origin },
  ): Promise<RecipientDecision> | RecipientDecision;
  /**
   * Called before 354, so that "no space" can answer DATA itself.
   * @param context `forecast`: of the header fields of {@linkcode PendingMessage.commit}, for a delivery that stores a
   * message as it comes
   * @throws {SmtpError} with the reply
   */
  begin(
    envelope: Envelope,
    context: { readonly origin: Origin; readonly forecast?: TopForecast },
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
   * @returns what the server said that the message went to; nothing where it is stored here
   * @throws {SmtpError} with the reply; nothing is left then
   */
  commit(prepend: readonly Header[], filing?: Filing): Promise<HandedOn | void>;
}
