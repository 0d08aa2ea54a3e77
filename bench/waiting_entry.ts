/**
 * Entries for long queues: each was tried once, hours ago, and its sender knows.
 *
 * @module
 */
import { crc32 } from "node:zlib";
import { pendingRecipient, type QueueEntry } from "../relay/queue_entry.ts";
import { encodeHead, encodeState } from "../relay/stored/format.ts";
import { formatCheck } from "../relay/stored/seal.ts";

const HOUR = 3_600_000;

/** The message of each of them. */
export const MESSAGE = new TextEncoder().encode(`Subject: x\r\n\r\n${"0123456789".repeat(60)}\r\n`);

const MESSAGE_CHECK = formatCheck(crc32(MESSAGE));

/** An entry, and its head and state as they are stored. */
export interface WaitingEntry {
  readonly entry: QueueEntry;
  readonly head: string;
  readonly state: string;
}

/**
 * Makes the entry with this number.
 * @param options `shard`: the end of its id; `due`: when it is tried next, milliseconds since the epoch
 */
export function waitingEntry(
  number: number,
  { domain, shard, due }: { readonly domain: string; readonly shard: string; readonly due: number },
): WaitingEntry {
  const acceptedAt = Date.now() - 5 * HOUR;
  const fresh = pendingRecipient(`user${number}@${domain}`, domain);
  const accepted = {
    id: `${acceptedAt.toString(36)}${number.toString(36).padStart(4, "0")}0000${shard}`,
    acceptedAt,
    reversePath: "alice@sender.example",
    body: "7BIT",
    smtputf8: false,
    size: MESSAGE.length,
    content: { eightBitHeader: false, eightBitBody: false },
    recipients: [{ ...fresh, attempts: [] }],
  } satisfies QueueEntry;
  const attempt = { at: acceptedAt, host: `mx.${domain}`, error: "connection refused", status: "4.4.1" };
  const entry: QueueEntry = {
    ...accepted,
    recipients: [{ ...fresh, attemptCount: 1, attempts: [attempt], nextAttemptAt: due, delayNotified: true }],
  };
  return { entry, head: encodeHead(accepted, MESSAGE_CHECK), state: encodeState(entry) };
}
