/**
 * Which messages of the queue are meant: by `mailapp queue`, over the control socket, and where the queue itself can
 * tell. To add a filter, add it here: to the type, the parser and the match; then the option to `cli/queue.ts`. A queue
 * that knows nothing of a filter names all messages, and they are looked at one by one.
 *
 * @module
 */
import { isOpen, type QueueEntry, type QueueRecipient } from "./queue_entry.ts";

/** Which messages, or which of their recipients, are meant; all that is given must hold. */
export interface QueueFilter {
  /** Queue ids; absent: any. */
  readonly ids?: readonly string[];
  /** Only recipients in this domain (lower case, A-labels) that are open. */
  readonly domain?: string;
  /** Only messages with this reverse-path, in any letter case; `""` is the null reverse-path. */
  readonly sender?: string;
}

/** Whether every message is meant. */
export function isEverything(filter: QueueFilter): boolean {
  return Object.values(filter).every((value) => value === undefined);
}

/** Checks a filter that came as JSON; `undefined` when it is none. */
export function parseFilter(value: unknown): QueueFilter | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const { ids, domain, sender, ...rest } = value as Record<string, unknown>;
  if (Object.keys(rest).length > 0) return undefined;
  if (ids !== undefined && !(Array.isArray(ids) && ids.every((id) => typeof id === "string"))) {
    return undefined;
  }
  if (domain !== undefined && typeof domain !== "string") return undefined;
  if (sender !== undefined && typeof sender !== "string") return undefined;
  return {
    ...(ids !== undefined && { ids }),
    ...(domain !== undefined && { domain }),
    ...(sender !== undefined && { sender }),
  };
}

/** Whether a message is meant. */
export function matches(entry: QueueEntry, filter: QueueFilter): boolean {
  return (filter.ids?.includes(entry.id) ?? true) && isSender(entry.reversePath, filter.sender) &&
    (filter.domain === undefined || entry.recipients.some((one) => isOpen(one) && selects(filter, one)));
}

/** Whether a recipient of a message that is meant is meant itself. */
export function selects({ domain }: QueueFilter, recipient: Pick<QueueRecipient, "domain">): boolean {
  return domain === undefined || recipient.domain === domain;
}

/** Whether a reverse-path is the one that is looked for; every one is if none is. */
export function isSender(reversePath: string, wanted: string | undefined): boolean {
  return wanted === undefined || reversePath.toLowerCase() === wanted.toLowerCase();
}
