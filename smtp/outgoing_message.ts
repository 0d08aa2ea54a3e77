/**
 * A message that a client sends, and the commands that carry its envelope.
 *
 * @module
 */
import type { Capabilities } from "./capabilities.ts";
import type { DsnOptions, Notify, OriginalRecipient } from "./envelope.ts";
import { encodeXtext } from "./parameters.ts";

/** One recipient of an outgoing message. */
export interface OutgoingRecipient {
  /** The forward-path without angle brackets, ASCII unless `smtputf8`. */
  readonly address: string;
  /** Passed on where the server has DSN. */
  readonly notify?: Notify;
  /** Passed on where the server has DSN. */
  readonly originalRecipient?: OriginalRecipient;
}

/** A message to send in one transaction. */
export interface OutgoingMessage {
  /** The reverse-path without angle brackets; `""` is the null reverse-path. */
  readonly reversePath: string;
  /** At least one. */
  readonly recipients: readonly OutgoingRecipient[];
  /** Passed on where the server has DSN. */
  readonly dsn?: DsnOptions;
  /** In octets, for SIZE. */
  readonly size: number;
  /** Whether to say BODY=8BITMIME. */
  readonly eightBit: boolean;
  /** Whether to say SMTPUTF8. */
  readonly smtputf8: boolean;
  /** Whether to say REQUIRETLS (RFC 8689), where the server has it. */
  readonly requireTls?: boolean;
  /** The mail data: lines end in CRLF, not dot-stuffed. Asked for once, and only if the server wants it. */
  readonly chunks: () => AsyncIterable<Uint8Array>;
  /**
   * Called when the server is ready for the data, with the indices of the recipients it took; the final dot waits for
   * it. If it rejects, the connection is closed before the dot.
   */
  readonly beforeDot?: (accepted: readonly number[]) => Promise<void>;
}

/** The commands of a transaction up to DATA. */
export interface EnvelopeCommands {
  /** MAIL. */
  readonly mail: string;
  /** RCPT, one for each recipient. */
  readonly rcpts: readonly string[];
}

// deno-lint-ignore no-control-regex
const CONTROL = /[\u0000-\u001f\u007f]/;

/**
 * MAIL, then one RCPT for each recipient, with the parameters that the server announced.
 * @throws {RangeError} when an address holds control bytes
 */
export function envelopeCommands(
  message: OutgoingMessage,
  capabilities: Capabilities,
): EnvelopeCommands {
  return {
    mail: mailCommand(message, capabilities),
    rcpts: message.recipients.map((recipient) => rcptCommand(recipient, capabilities)),
  };
}

/**
 * MAIL with the parameters that the server announced.
 * @throws {RangeError} when the address holds control bytes
 */
export function mailCommand(
  message: Omit<OutgoingMessage, "recipients" | "chunks" | "size"> & { readonly size?: number },
  { size, eightBitMime, smtputf8, dsn, requireTls }: Capabilities,
): string {
  let mail = `MAIL FROM:<${message.reversePath}>`;
  if (size !== undefined && message.size !== undefined) mail += ` SIZE=${message.size}`;
  if (eightBitMime && message.eightBit) mail += " BODY=8BITMIME";
  if (smtputf8 && message.smtputf8) mail += " SMTPUTF8";
  if (dsn && message.dsn?.ret !== undefined) mail += ` RET=${message.dsn.ret}`;
  if (dsn && message.dsn?.envelopeId !== undefined) mail += ` ENVID=${encodeXtext(message.dsn.envelopeId)}`;
  if (requireTls && message.requireTls) mail += " REQUIRETLS";
  return withoutControls(mail);
}

/**
 * RCPT with the parameters that the server announced.
 * @throws {RangeError} when the address holds control bytes
 */
export function rcptCommand(recipient: OutgoingRecipient, { dsn }: Capabilities): string {
  let rcpt = `RCPT TO:<${recipient.address}>`;
  if (dsn && recipient.notify !== undefined) rcpt += ` NOTIFY=${recipient.notify.join(",")}`;
  if (dsn && recipient.originalRecipient !== undefined) {
    rcpt += ` ORCPT=${orcpt(recipient.originalRecipient)}`;
  }
  return withoutControls(rcpt);
}

function withoutControls(command: string): string {
  if (CONTROL.test(command)) throw new RangeError("an address holds control characters");
  return command;
}

/** RFC 3461 §4.2; the address type utf-8 in its ASCII form (RFC 6533 §3), which needs no SMTPUTF8. */
function orcpt({ type, address }: OriginalRecipient): string {
  if (type !== "utf-8") return `${type};${encodeXtext(address)}`;
  const encoded = address.replace(
    /[^!-*,-<>-[\]-~]/gu,
    (character) => `\\x{${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(2, "0")}}`,
  );
  return `${type};${encoded}`;
}
