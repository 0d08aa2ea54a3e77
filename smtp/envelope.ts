/**
 * The envelope of a message (RFC 5321 §2.3.1): who sent it, and for whom it is.
 *
 * @module
 */

/** A mailbox, parsed (RFC 5321 §4.1.2 `Mailbox`, RFC 6531 §3.3). */
export interface MailboxAddress {
  /** The local-part without quoting: `"a b"@x` has `a b`. Case is kept. Never holds CR, LF or NUL. */
  readonly localPart: string;
  /**
   * The domain in lower case, without a trailing dot, IDN as A-labels (`xn--…`); an address literal as
   * `[192.0.2.1]` or `[IPv6:2001:db8::1]`; empty only for the bare `<Postmaster>` of RCPT (§4.1.1.3) and, where
   * the delivery completes addresses, for a bare local-part.
   */
  readonly domain: string;
  /**
   * The address as the client wrote it between the angle brackets, source route removed; in quotes where dots at the
   * ends of the local-part, or in a row, need them.
   */
  readonly text: string;
}

/** Where failure notices go; `null` is the null reverse-path `<>` (§4.5.5). */
export type ReversePath = MailboxAddress | null;

/** Where a message goes. */
export type ForwardPath = MailboxAddress;

/** BODY= of MAIL (RFC 6152); what the client declared, which may be wrong. */
export type BodyType = "7BIT" | "8BITMIME";

/** NOTIFY= of RCPT (RFC 3461 §4.1): when a notice is wanted; `["NEVER"]` stands alone. */
export type Notify = readonly ("NEVER" | "SUCCESS" | "FAILURE" | "DELAY")[];

/** ORCPT= of RCPT (RFC 3461 §4.2), decoded. */
export interface OriginalRecipient {
  /** The address type, such as `rfc822` or `utf-8`; lower case. */
  readonly type: string;
  /** The address, xtext decoded. */
  readonly address: string;
}

/** RET= and ENVID= of MAIL (RFC 3461 §4.3, §4.4). */
export interface DsnOptions {
  /** How much of the message a failure notice returns. */
  readonly ret?: "FULL" | "HDRS";
  /** The sender's own id of this envelope, xtext decoded; at most 100 characters. */
  readonly envelopeId?: string;
}

/** A forward-path with what the client asked for it. */
export interface Recipient {
  /** Where the message goes. */
  readonly forwardPath: ForwardPath;
  /** NOTIFY=, where the delivery honours DSN. */
  readonly notify?: Notify;
  /** ORCPT=, where the delivery honours DSN. */
  readonly originalRecipient?: OriginalRecipient;
}

/** The envelope as it stands when the mail data begins, or before that. */
export interface Envelope {
  /** Who sent it. */
  readonly reversePath: ReversePath;
  /** Those that were accepted; at least one when the mail data begins. */
  readonly recipients: readonly Recipient[];
  /** BODY= as declared; 7BIT by default. */
  readonly body: BodyType;
  /** Whether MAIL had SMTPUTF8 (RFC 6531). */
  readonly smtputf8: boolean;
  /** SIZE= as declared, in octets (RFC 1870); may be wrong. */
  readonly size?: number;
  /** RET= and ENVID=, where the delivery honours DSN. */
  readonly dsn?: DsnOptions;
  /** Whether MAIL had REQUIRETLS (RFC 8689): it goes over verified TLS to servers that ask the same of the next one. */
  readonly requireTls?: true;
}
