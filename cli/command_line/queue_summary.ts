/**
 * Summarizes a long queue: by destination, by sender, by last reply.
 *
 * @module
 */
import type { QueueView } from "../../relay/operator.ts";
import { isOpen, type QueueRecipient, SEEN_EARLIER } from "../../relay/queue_entry.ts";
import { type QueueFilter, selects } from "../../relay/queue_filter.ts";
import { count, printable, showDuration } from "./terminal.ts";

/** What messages can be grouped by. */
export const QUEUE_GROUPS = ["domain", "reason", "sender"] as const;

/** A grouping. */
export type QueueGrouping = typeof QUEUE_GROUPS[number];

/** Messages with a common domain, reason or sender. */
export interface QueueGroup {
  /** The domain, sender or reason. */
  readonly name: string;
  /** How many messages; one with recipients in several groups counts in each. */
  readonly messages: number;
  /** Their open recipients in this group. */
  readonly recipients: number;
  /** Of the oldest, in milliseconds. */
  readonly oldestAge: number;
  /** The most frequent last reply or error; absent if there is none. */
  readonly reason?: string;
}

/** Upper bound of the groups; the messages of further ones count together. */
const MAX_GROUPS = 10_000;
const OTHERS = "(others)";
const UNTRIED = "not tried yet";

interface Counted {
  messages: number;
  recipients: number;
  oldestAge: number;
  readonly reasons: Map<string, number>;
}

/** Counts messages as they are listed. */
export class QueueSummary {
  readonly #grouping: QueueGrouping;
  readonly #groups = new Map<string, Counted>();

  /** `grouping`: what messages are grouped by. */
  constructor(grouping: QueueGrouping) {
    this.#grouping = grouping;
  }

  /** Adds a message, with the recipients that the filter means. */
  add({ entry, age }: QueueView, filter: QueueFilter = {}): void {
    const seen = new Set<string>();
    for (const recipient of entry.recipients) {
      if (!isOpen(recipient) || !selects(filter, recipient)) continue;
      const reason = reasonFor(recipient);
      const name = this.#grouping === "domain"
        ? recipient.domain
        : this.#grouping === "reason"
        ? reason
        : entry.reversePath === ""
        ? "<>"
        : entry.reversePath.toLowerCase();
      const key = this.#groups.has(name) || this.#groups.size < MAX_GROUPS ? name : OTHERS;
      let group = this.#groups.get(key);
      if (group === undefined) {
        group = { messages: 0, recipients: 0, oldestAge: 0, reasons: new Map() };
        this.#groups.set(key, group);
      }
      if (!seen.has(key)) group.messages++;
      seen.add(key);
      group.recipients++;
      group.oldestAge = Math.max(group.oldestAge, age);
      if (group.reasons.has(reason) || group.reasons.size < 100) {
        group.reasons.set(reason, (group.reasons.get(reason) ?? 0) + 1);
      }
    }
  }

  /** The groups, those with most messages first. */
  get groups(): QueueGroup[] {
    return Array.from(this.#groups, ([name, { reasons, ...group }]) => {
      const [reason] = [...reasons].toSorted(([, one], [, other]) => other - one)[0] ?? [];
      return { name, ...group, ...(reason !== undefined && reason !== UNTRIED && { reason }) };
    }).sort((one, other) => other.messages - one.messages || (one.name < other.name ? -1 : 1));
  }
}

/** Why an open recipient is still in the queue: the group that its message counts in. */
export function reasonFor(
  { status, attempts, domain }: Pick<QueueRecipient, "status" | "attempts" | "domain">,
): string {
  const { reply, error } = attempts.at(-1) ?? {};
  if (status === "held") return "held";
  const words = reply ?? error ?? UNTRIED;
  // One cause, such as DNS that is down, concerns many domains.
  return reasonOf(domain === "" ? words : words.replaceAll(domain, "…"));
}

/** Longest reason that is shown, in characters. */
const MAX_REASON = 120;

/**
 * What another server said, without what differs from message to message: ids, addresses, times, and whether this
 * message met it or one before, so that messages which wait for one reason form one group.
 */
export function reasonOf(words: string): string {
  const line = words.split("\n", 1)[0] ?? "";
  return (line.endsWith(SEEN_EARLIER) ? line.slice(0, -SEEN_EARLIER.length) : line)
    .replace(/<[^<>]*>/g, "<…>")
    .replace(/https?:\/\/\S+/g, "…")
    .replace(/\b(?=\w*\d)(?=\w*[A-Za-z])[\w-]{8,}\b/g, "…")
    .replace(/\b\d{4,}\b/g, "…")
    .replace(/\b\d{1,2}:\d\d(?::\d\d)?\b/g, "…")
    .replace(/\b\d{1,3}(?= ?(?:s|secs?|seconds?|m|mins?|minutes?|h|hours?)\b)/gi, "…")
    .slice(0, MAX_REASON);
}

/** A table of groups for people. */
export function groupsText(groups: readonly QueueGroup[], grouping: QueueGrouping): string {
  const width = Math.max(0, ...groups.map(({ messages }) => String(messages).length));
  return groups.map(({ name, messages, oldestAge, reason }) => {
    const why = grouping === "reason" || reason === undefined ? "" : `: ${printable(reason)}`;
    return `${String(messages).padStart(width)}  ${printable(name)}, oldest ${
      showDuration(oldestAge)
    }${why}\n`;
  }).join("");
}

/** The text above a long list. */
export function summaryText(summary: QueueSummary, total: number): string {
  const { groups } = summary;
  const shown = groups.slice(0, 5);
  const rest = groups.length - shown.length;
  return `${count(total, "message")}:\n${groupsText(shown, "domain")}` +
    (rest > 0 ? `and ${count(rest, "domain")} more (queue list --group domain)\n` : "");
}
