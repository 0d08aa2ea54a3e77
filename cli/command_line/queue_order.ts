/**
 * The orders in which `queue list` shows messages.
 *
 * @module
 */
import type { QueueView } from "../../relay/operator.ts";
import { isOpen } from "../../relay/queue_entry.ts";

/** The keys of `--sort`; the smallest comes first. */
export const SORT_KEYS: Readonly<Record<string, (view: QueueView) => number | string>> = {
  // Ids begin with the time; ages grow while the list is read.
  age: ({ entry }) => entry.id,
  newest: ({ entry }) => entry.id,
  size: ({ entry }) => -entry.size,
  attempts: ({ entry }) => -Math.max(...entry.recipients.map(({ attemptCount }) => attemptCount)),
  next: ({ entry }) =>
    Math.min(
      ...entry.recipients.flatMap(({ status, nextAttemptAt }) => status === "pending" ? nextAttemptAt : []),
    ),
  domain: ({ entry }) => entry.recipients.find(isOpen)?.domain ?? "",
  sender: ({ entry }) => entry.reversePath.toLowerCase(),
};
