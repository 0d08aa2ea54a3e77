/**
 * The addresses of an envelope as the queue holds them.
 *
 * @module
 */
import type { MailboxAddress, Recipient } from "../smtp/envelope.ts";
import { pendingRecipient, type QueueRecipient, recipientOctets } from "./queue_entry.ts";

/** How the domains of addresses are completed and replaced. */
export interface Domains {
  /** Completes bare addresses. */
  readonly qualifyDomain: string;
  /** Maps a name of this machine, as in root@localhost, to its local domain. */
  readonly localDomain?: (domain: string) => string | undefined;
}

/** Octets of the recipients as the queue holds them, which is bounded. */
export function envelopeOctets(recipients: readonly Recipient[], domains: Domains): number {
  return queueRecipients(recipients, domains).reduce((sum, one) => sum + recipientOctets(one), 0);
}

/** The recipients as the queue holds them; one named twice gets one copy. */
export function queueRecipients(
  recipients: readonly Recipient[],
  { qualifyDomain, localDomain }: Domains,
): QueueRecipient[] {
  const byAddress = new Map<string, QueueRecipient>();
  for (const { forwardPath, notify, originalRecipient } of recipients) {
    let { address, domain } = qualify(forwardPath, qualifyDomain);
    const local = localDomain?.(domain);
    if (local !== undefined) {
      address = `${address.slice(0, address.lastIndexOf("@"))}@${local}`;
      domain = local;
    }
    if (byAddress.has(address)) continue;
    byAddress.set(address, {
      ...pendingRecipient(address, domain),
      ...(notify && { notify }),
      ...(originalRecipient && { originalRecipient }),
    });
  }
  return [...byAddress.values()];
}

/** The address with its domain in the form for the wire: lower case, A-labels; the local-part as it was written. */
export function qualify(
  { text, domain }: MailboxAddress,
  qualifyDomain: string,
): { address: string; domain: string } {
  if (domain === "") return { address: `${text}@${qualifyDomain}`, domain: qualifyDomain.toLowerCase() };
  return { address: `${text.slice(0, text.lastIndexOf("@"))}@${domain}`, domain };
}
