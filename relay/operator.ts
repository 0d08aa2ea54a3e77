/**
 * What an operator may see and do in the queue. Works on the same entries as the scheduler, and leaves alone
 * recipients that are being sent to, so that a message is neither lost nor duplicated.
 *
 * @module
 */
import type { Logger } from "../base/log.ts";
import type { Clock } from "../base/clock.ts";
import { messageContent } from "./message_content.ts";
import type { OpenEntries, OpenEntry } from "./open_entries.ts";
import type { Queue } from "./queue.ts";
import {
  addAttempts,
  isOpen,
  type QueueEntry,
  type QueueRecipient,
  RETURNED_BY_OPERATOR,
} from "./queue_entry.ts";
import { matches, type QueueFilter, selects } from "./queue_filter.ts";

/** What can be done with queued messages. */
export const OPERATOR_ACTIONS = ["retry", "hold", "release", "bounce", "remove"] as const;

/**
 * `retry`: try pending ones now; `hold`: do not try; `release`: try held ones now; `bounce`: give up, and notify the
 * sender; `remove`: give up without a notice.
 */
export type OperatorAction = typeof OPERATOR_ACTIONS[number];

/** A message in its current state. */
export interface QueueView {
  /** Its entry. */
  readonly entry: QueueEntry;
  /** How old it is, as {@linkcode Queue.ageOf} tells. */
  readonly age: number;
  /** Recipients (indices) that are being sent to. */
  readonly inFlight: readonly number[];
  /** The host that has it, of a queue with several; absent: none. */
  readonly host?: string;
}

/** The result of an action on one message. */
export interface ActionResult {
  /** The message. */
  readonly id: string;
  /** Recipients that were changed. */
  readonly changed: readonly string[];
  /** Recipients that were left alone since they are being sent to. */
  readonly inFlight: readonly string[];
  /** Recipients that were left alone for another reason; absent where there are none. */
  readonly leftAlone?: readonly string[];
  /** That reason. */
  readonly note?: string;
  /** Present where the change is in effect but could not be stored yet, as on a full disk. */
  readonly unsaved?: true;
}

/** About an action. */
export interface ActionOptions {
  /** Who asks for it, for the log. */
  readonly by?: string | undefined;
}

/** What a {@linkcode QueueOperator} needs. */
export interface QueueOperatorOptions {
  /** The queue. */
  readonly queue: Pick<Queue, "ids" | "ageOf" | "load" | "open">;
  /** The entries that others work on too. */
  readonly entries: OpenEntries;
  /** Tells the time. */
  readonly clock: Clock;
  /** Takes `operator.*`. */
  readonly logger: Logger;
  /**
   * Stores a changed entry, does what follows from it, and sends what is due where a scheduler runs. Tells
   * whether it could be stored now; if not, it is stored later.
   */
  readonly change: (opened: OpenEntry) => Promise<boolean>;
  /** Clears the back-off of all hosts. */
  readonly clearHostBackoff?: () => void;
  /**
   * Whether an entry may be a notice of which it is not known yet that it has been queued. Were it gone, another would
   * be written in its place, so `bounce` and `remove` leave it alone. Default: none is.
   */
  readonly mayBeHalfDone?: (entry: QueueEntry) => boolean | Promise<boolean>;
  /**
   * The longest that the scheduler lets a message wait, in milliseconds, asked each time: a time beyond it was written
   * under another clock, and is not shown. Default: no bound.
   */
  readonly longestWait?: () => number;
}

// Entries stored at the same time share the disk's syncs.
const AT_ONCE = 16;
// A queue this long is shown oldest first; a longer one in parts of this length, each oldest first.
const SORTED_AT_ONCE = 100_000;

const MAY_BE_HALF_DONE =
  "a notice that may be half done; try again when serve-out runs and queue.scanned is in its log";

/** Inspects and manages a queue. */
export class QueueOperator {
  readonly #options: QueueOperatorOptions;

  /** Holds no state of its own. */
  constructor(options: QueueOperatorOptions) {
    this.#options = options;
  }

  /**
   * The selected messages as they stand, oldest first, or in parts of 100,000 each of which is oldest first. Those that
   * cannot be read are logged and left out.
   */
  async *list(filter: QueueFilter): AsyncGenerator<QueueView, void, void> {
    const { clock, longestWait = () => Infinity } = this.#options;
    for await (const opened of this.#select(filter)) {
      using message = opened;
      const entry = structuredClone(message.entry);
      noLaterThan(entry, clock.now() + longestWait());
      yield { entry, age: this.#options.queue.ageOf(entry), inFlight: [...message.inFlight] };
    }
  }

  /**
   * Does something with the selected messages, durable when each result comes.
   * @throws what the queue throws, when it cannot store
   */
  async *apply(
    action: OperatorAction,
    filter: QueueFilter,
    { by }: ActionOptions = {},
  ): AsyncGenerator<ActionResult, void, void> {
    if (action === "retry" || action === "release") this.#options.clearHostBackoff?.();
    const running: Promise<ActionResult>[] = [];
    try {
      for await (const opened of this.#select(filter)) {
        const result = this.#act(action, { opened, filter, by }).finally(() => opened[Symbol.dispose]());
        // It is looked at in its turn.
        result.catch(() => {});
        running.push(result);
        const first = running.length >= AT_ONCE ? running.shift() : undefined;
        if (first !== undefined) yield await first;
      }
      while (running.length > 0) {
        const first = running.shift();
        if (first !== undefined) yield await first;
      }
    } finally {
      await Promise.allSettled(running);
    }
  }

  /** The message as it is sent, in pieces that stay valid; nothing when it is not in the queue. */
  async *content(id: string): AsyncGenerator<Uint8Array, void, void> {
    const { queue, entries } = this.#options;
    // Given back afterwards, where the queue has several owners.
    using opened = await entries.open(id);
    if (opened === undefined) return;
    yield* messageContent(queue, id);
  }

  async *#select(filter: QueueFilter): AsyncGenerator<OpenEntry, void, void> {
    const { queue, entries, logger } = this.#options;
    const { ids: named, ...rest } = filter;
    const ids = named === undefined ? oldestFirst(queue.ids(rest)) : new Set(named);
    for await (const id of ids) {
      let opened: OpenEntry | undefined;
      try {
        opened = await entries.open(id);
      } catch (error) {
        logger.error("queue.unreadable", { id, error: String(error) });
      }
      if (opened === undefined) continue;
      if (matches(opened.entry, rest)) yield opened;
      else opened[Symbol.dispose]();
    }
  }

  async #act(
    action: OperatorAction,
    { opened, filter, by }: ActionOptions & { readonly opened: OpenEntry; readonly filter: QueueFilter },
  ): Promise<ActionResult> {
    const { clock, logger } = this.#options;
    const { entry, inFlight } = opened;
    const { id } = entry;
    const mustStay = (action === "bounce" || action === "remove") &&
      await this.#options.mayBeHalfDone?.(entry) === true;
    const changed: QueueRecipient[] = [];
    const busy: QueueRecipient[] = [];
    const left: QueueRecipient[] = [];
    let note: string | undefined;
    let stored = true;
    for (const [index, recipient] of entry.recipients.entries()) {
      if (!selects(filter, recipient)) continue;
      if (inFlight.has(index)) {
        busy.push(recipient);
        continue;
      }
      const refusal = mustStay && isOpen(recipient)
        ? MAY_BE_HALF_DONE
        : change(action, { recipient, entry, now: clock.now() });
      if (refusal === undefined) changed.push(recipient);
      else if (refusal !== "") {
        note = refusal;
        left.push(recipient);
      }
    }
    if (changed.length > 0) {
      const addresses = changed.map(({ address }) => address);
      logger.info(`operator.${action}`, { id, recipients: addresses, by });
      stored = await this.#options.change(opened);
    }
    return {
      id,
      changed: changed.map(({ address }) => address),
      inFlight: busy.map(({ address }) => address),
      ...(!stored && { unsaved: true }),
      ...(note !== undefined && { leftAlone: left.map(({ address }) => address), note }),
    };
  }
}

/** Lets no recipient's next attempt be after `latest`, milliseconds since the epoch. */
export function noLaterThan({ recipients }: QueueEntry, latest: number): void {
  for (const recipient of recipients) recipient.nextAttemptAt = Math.min(recipient.nextAttemptAt, latest);
}

/** Queue ids begin with the time. */
async function* oldestFirst(ids: AsyncIterable<string>): AsyncGenerator<string, void, void> {
  let part: string[] = [];
  for await (const id of ids) {
    part.push(id);
    if (part.length < SORTED_AT_ONCE) continue;
    yield* part.sort();
    part = [];
  }
  yield* part.sort();
}

/** Changes a recipient; returns why not, or `""` where no reason is needed. */
function change(
  action: OperatorAction,
  { recipient, entry, now }: { recipient: QueueRecipient; entry: QueueEntry; now: number },
): string | undefined {
  const { status } = recipient;
  if (!isOpen(recipient)) return "";
  switch (action) {
    case "retry":
      if (status === "held") return "held; queue release sends it";
      recipient.nextAttemptAt = 0;
      return;
    case "hold":
      if (status === "held") return "held already";
      recipient.status = "held";
      return;
    case "release":
      if (status === "pending") return "not held";
      recipient.status = "pending";
      recipient.settled = false;
      recipient.nextAttemptAt = 0;
      return;
    case "bounce":
      recipient.status = "failed";
      // There is no one to notify (RFC 5321 §4.5.5): it is done.
      if (entry.reversePath === "") recipient.settled = true;
      addAttempts(
        recipient,
        [{ at: now, host: recipient.domain, error: RETURNED_BY_OPERATOR, status: "5.0.0" }],
        entry,
      );
      return;
    case "remove":
      recipient.status = "removed";
      return;
  }
}
