/**
 * Selects messages of the queue: for `mailapp queue`, over the control socket, and where the queue itself can
 * tell. To add a filter, add it here: to the type, the parser and the match; then the option to `cli/queue.ts`. A queue
 * that does not support a filter returns all messages, and they are checked one by one.
 *
 * @module
 */
import { isOpen, type QueueEntry, type QueueRecipient } from "./queue_entry.ts";

/** Selects messages, or some of their recipients; all conditions given must hold. */
export interface QueueFilter {
  /** Queue ids; absent: any. */
  readonly ids?: readonly string[];
  /** Only recipients in this domain (lower case, A-labels) that are open. */
  readonly domain?: string;
  /** Only messages with this reverse-path, in any letter case; `""` is the null reverse-path. */
  readonly sender?: string;
}

/** Whether it selects every message. */
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

/** Whether it selects a message. */
export function matches(entry: QueueEntry, filter: QueueFilter): boolean {
  return (filter.ids?.includes(entry.id) ?? true) && isSender(entry.reversePath, filter.sender) &&
    (filter.domain === undefined || entry.recipients.some((one) => isOpen(one) && selects(filter, one)));
}

/** Whether it selects a recipient of a selected message. */
export function selects({ domain }: QueueFilter, recipient: Pick<QueueRecipient, "domain">): boolean {
  return domain === undefined || recipient.domain === domain;
}

/** Whether it selects a reverse-path; any, if none is given. */
export function isSender(reversePath: string, wanted: string | undefined): boolean {
  return wanted === undefined || reversePath.toLowerCase() === wanted.toLowerCase();
}
