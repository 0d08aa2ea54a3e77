/**
 * Entries of a queue, with as little said of them as a test needs to say.
 *
 * @module
 */
import {
  addAttempts,
  MAX_ENTRY_RECIPIENTS,
  MAX_ENVELOPE_OCTETS,
  pendingRecipient,
  type QueueEntry,
  type QueueRecipient,
  recipientOctets,
} from "../../relay/queue_entry.ts";

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

/**
 * As many recipients as an entry may have, with as much said of each as there may be, in the characters that take most
 * room where they are stored.
 */
export function largestEntry(options: Partial<QueueEntry> = {}, count = MAX_ENTRY_RECIPIENTS): QueueEntry {
  const share = Math.floor(MAX_ENVELOPE_OCTETS / count);
  const recipients = Array.from({ length: count }, (_, index) => {
    const plain = recipient(`${index}@${"d".repeat(60)}.test`, {
      originalRecipient: { type: "rfc822", address: "" },
      notify: ["SUCCESS", "FAILURE", "DELAY"],
    });
    const address = '"'.repeat(Math.floor((share - recipientOctets(plain)) / 2));
    return { ...plain, originalRecipient: { type: "rfc822", address } };
  });
  const entry = newEntry(recipients, { id: "", ...options });
  const host = "h".repeat(255);
  for (const recipient of entry.recipients) {
    const said = {
      at: 1_795_000_000_000,
      host,
      address: "2001:db8::1",
      status: "4.4.2",
      reply: "\x01".repeat(3000),
    };
    addAttempts(recipient, Array(20).fill(said), entry);
  }
  return entry;
}
