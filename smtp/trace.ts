/**
 * Trace information (RFC 5321 §4.4): the Return-Path and Received fields put on top of a message.
 *
 * @module
 */
import { formatDate } from "../base/date.ts";
import { isAscii } from "./address.ts";
import type { Header } from "./delivery.ts";
import type { MailboxAddress } from "./envelope.ts";
import type { Session, Transaction } from "./session.ts";

/** The protocol's name in Received (RFC 3848, RFC 6531 §3.7.3). */
export function withProtocol(session: Session, smtputf8: boolean): string {
  const base = smtputf8 ? "UTF8SMTP" : session.hello?.verb === "EHLO" ? "ESMTP" : "SMTP";
  // SMTPS has no keyword of its own: after HELO over TLS, the ESMTPS of the EHLO that had to stand before is nearest.
  if (session.tls === undefined) return base;
  const authenticated = session.login === undefined ? "" : "A";
  return `${smtputf8 ? "UTF8SMTPS" : "ESMTPS"}${authenticated}`;
}

/** An IP address as an address literal (§4.1.3). */
export function addressLiteral(address: string): string {
  return address.includes(":") ? `[IPv6:${address}]` : `[${address}]`;
}

/** What Received states. */
export interface ReceivedOptions {
  /** This server's name. */
  readonly hostname: string;
  readonly id: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Whether it has the client's address; default: yes. */
  readonly namesClient?: boolean;
}

/**
 * The Received field of this message (§4.4). `for` stands only with one recipient, since others may be blind copies,
 * and only with a domain, as its grammar wants it. A client that named no domain stands there by its address, and what
 * it did name in the comment. Where the client is not to be named there is no `from`, as the grammar of RFC 5322
 * §3.6.7 has it.
 */
export function received(session: Session, transaction: Transaction, options: ReceivedOptions): Header {
  const { hostname, id, now, namesClient = true } = options;
  const tls = session.tls ? ` (${session.tls.protocol} ${session.tls.cipher})` : "";
  const [only, ...others] = transaction.recipients;
  const recipient = only !== undefined && others.length === 0 && only.forwardPath.domain !== ""
    ? `\r\n\tfor <${asciiDomain(only.forwardPath)}>`
    : "";
  const { domain = "unknown", odd } = session.hello ?? {};
  const address = addressLiteral(session.remote.address);
  const from = namesClient
    ? `from ${domain} (${address}${odd === undefined ? "" : ` helo=${odd}`})\r\n\t`
    : "";
  return {
    name: "Received",
    value: `${from}by ${hostname} with ${withProtocol(session, transaction.smtputf8)}${tls}\r\n` +
      `\tid ${id}${recipient}; ${formatDate(now)}`,
  };
}

/**
 * The address as it was given, a domain that is not ASCII as A-labels: our fields must not make the next server need
 * SMTPUTF8.
 */
function asciiDomain({ text, domain }: MailboxAddress): string {
  return domain === "" || isAscii(text) ? text : `${text.slice(0, text.lastIndexOf("@"))}@${domain}`;
}

/** The Return-Path field, added where mail leaves SMTP (§4.4). */
export function returnPath(transaction: Transaction): Header {
  return { name: "Return-Path", value: `<${transaction.reversePath?.text ?? ""}>` };
}
