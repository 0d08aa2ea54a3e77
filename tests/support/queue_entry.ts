/**
 * Entries of a queue, with as little said of them as a test needs to say.
 *
 * @module
 */
import { pendingRecipient, type QueueEntry, type QueueRecipient } from "../../relay/queue_entry.ts";

/** A recipient, due at once and never tried unless `changes` says otherwise. */
export function recipient(address: string, changes: Partial<QueueRecipient> = {}): QueueRecipient {
  return { ...pendingRecipient(address, address.slice(address.lastIndexOf("@") + 1)), ...changes };
}

/** An entry for these recipients, due at once unless they say otherwise. */
export function newEntry(
  recipients: readonly (string | Partial<QueueRecipient> & { readonly address: string })[],
  options: Partial<QueueEntry> & { readonly id: string },
): QueueEntry {
  return {
    acceptedAt: 0,
    reversePath: "sender@example.org",
    body: "7BIT",
    smtputf8: false,
    size: 17,
    content: { eightBitHeader: false, eightBitBody: false },
    recipients: recipients.map((item) =>
      typeof item === "string" ? recipient(item) : recipient(item.address, item)
    ),
    ...options,
  };
}
