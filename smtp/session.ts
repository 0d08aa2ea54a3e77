/**
 * The state of one dialogue: plain structures, given to every command.
 *
 * @module
 */
import type { SocketAddress, TlsInfo } from "../net/transport.ts";
import type { BodyType, DsnOptions, Recipient, ReversePath } from "./envelope.ts";
import type { Header } from "./delivery.ts";
import type { IncomingMessage } from "./incoming_message.ts";

/** How a client has begun its session (RFC 5321 §4.1.1.1). */
export interface Hello {
  /** The command. */
  readonly verb: "HELO" | "EHLO";
  /** A domain or an address literal: what the client named, or its address where it named neither. */
  readonly domain: string;
  /** What it named where that is not a domain or literal, in printable ASCII without parentheses and backslashes. */
  readonly odd?: string;
}

/** Everything known about one connection. */
export interface Session {
  /** Short, unique over the process's life; joins the log lines of one connection. */
  readonly id: string;
  /** The client's end. */
  readonly remote: SocketAddress;
  /** This server's end. */
  readonly local: SocketAddress;
  /** What the client called itself; absent before HELO/EHLO and again after STARTTLS (RFC 3207 §4.2). */
  hello?: Hello | undefined;
  /** What was negotiated; absent in plaintext. */
  tls?: TlsInfo | undefined;
  /** Who logged in (RFC 4954), by the account's name. */
  login?: string | undefined;
  /** The mail transaction that is open, if any. */
  transaction?: Transaction | undefined;
  /** Refused commands so far; too many end the session. */
  errorCount: number;
  /** Recipients refused so far; too many end the session, as no honest client fails that often. */
  refusedRecipientCount: number;
  /** Messages accepted so far. */
  messageCount: number;
}

/** From MAIL to the end of the data; owns the pending message, since BDAT fills it over several commands. */
export interface Transaction {
  /** From MAIL. */
  readonly reversePath: ReversePath;
  /** Accepted so far, in the order of RCPT. */
  readonly recipients: Recipient[];
  /** BODY= as declared. */
  readonly body: BodyType;
  /** Whether MAIL had SMTPUTF8 (RFC 6531). */
  readonly smtputf8: boolean;
  /** SIZE= as declared, in octets. */
  readonly size?: number;
  /** RET= and ENVID= (RFC 3461). */
  readonly dsn?: DsnOptions;
  /** Whether MAIL had REQUIRETLS (RFC 8689). */
  readonly requireTls?: true;
  /** Of the delivery; disposed with the transaction. */
  readonly held?: AsyncDisposable | undefined;
  /** The message as it arrives; present from DATA or the first BDAT on. */
  message?: IncomingMessage;
  /** Return-Path and Received, once they are made; their time does not change any more. */
  trace?: readonly Header[];
}
