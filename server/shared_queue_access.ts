/**
 * The queue in PostgreSQL for inspection and management: past every server, as the database has all of it. What another
 * host has is asked of it.
 *
 * @module
 */
import type { Config } from "../config/config.ts";
import { systemClock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { messageContent } from "../relay/message_content.ts";
import { OpenEntries } from "../relay/open_entries.ts";
import {
  type ActionResult,
  noLaterThan,
  type OperatorAction,
  QueueOperator,
  type QueueView,
} from "../relay/operator.ts";
import type { EntryView, PostgresQueue } from "../relay/postgres/postgres_queue.ts";
import { isOpen, type QueueEntry } from "../relay/queue_entry.ts";
import { matches, type QueueFilter, selects } from "../relay/queue_filter.ts";
import { longestDelay } from "../relay/retry_schedule.ts";
import { SpoolFormatError } from "../relay/stored/format_values.ts";
import { asCommand, connectQueue } from "./postgres_parts.ts";
import type { PostgresConfig } from "./queue_parts.ts";
import { retrySchedule } from "./relay_parts.ts";
import { settleByHand } from "./settle_by_hand.ts";

/** What there is of it for commands. */
export interface SharedQueueAccess {
  readonly list: QueueOperator["list"];
  readonly apply: QueueOperator["apply"];
  readonly content: QueueOperator["content"];
}

/**
 * The queue of this configuration, which is in PostgreSQL.
 * @throws {CommandError} by what it returns, when that cannot be done now
 */
export function sharedQueueAccess(
  config: Config,
  { queue, logger }: { readonly queue: PostgresConfig; readonly logger: Logger },
): SharedQueueAccess {
  return {
    list: async function* (filter) {
      await using opened = await connectQueue(config, queue, { logger, view: true });
      yield* list(opened, { filter, logger, longestWait: longestDelay(retrySchedule(config)) });
    },
    apply: async function* (action, filter) {
      const name = `${config.hostname} (mailapp queue)`;
      await using opened = await connectQueue(config, queue, { logger, name, asks: true });
      yield* apply(config, { action, filter, queue: opened, logger });
    },
    content: async function* (id) {
      await using opened = await connectQueue(config, queue, { logger, view: true });
      yield* content(opened, id);
    },
  };
}

async function* list(
  queue: PostgresQueue,
  { filter, logger, longestWait }: {
    readonly filter: QueueFilter;
    readonly logger: Logger;
    readonly longestWait: number;
  },
): AsyncGenerator<QueueView, void, void> {
  const { ids: named, ...rest } = filter;
  for await (const id of named ?? queue.ids(rest)) {
    const view = await peek(queue, id, { logger });
    if (view === undefined || !matches(view.entry, rest)) continue;
    const { entry, host, sending } = view;
    noLaterThan(entry, systemClock.now() + longestWait);
    yield { entry, age: queue.ageOf(entry), inFlight: sending, ...(host !== undefined && { host }) };
  }
}

/** An entry as it stands; one that cannot be read is logged and left out, until a host puts it aside. */
async function peek(
  queue: PostgresQueue,
  id: string,
  { logger }: { readonly logger: Logger },
): Promise<EntryView | undefined> {
  try {
    return await asCommand(() => queue.peek(id));
  } catch (error) {
    if (!(error instanceof SpoolFormatError)) throw error;
    logger.error("queue.unreadable", { id, error: error.message });
    return undefined;
  }
}

/** As {@linkcode QueueOperator.content}, whoever has the entry. */
async function* content(queue: PostgresQueue, id: string): AsyncGenerator<Uint8Array, void, void> {
  if (await asCommand(() => queue.peek(id)) === undefined) return;
  yield* messageContent({ open: (id) => asCommand(() => queue.open(id)) }, id);
}

async function* apply(
  config: Config,
  { action, filter, queue, logger }: {
    readonly action: OperatorAction;
    readonly filter: QueueFilter;
    readonly queue: PostgresQueue;
    readonly logger: Logger;
  },
): AsyncGenerator<ActionResult, void, void> {
  const entries = new OpenEntries(queue, (entry) => void queue.shared.giveBack(entry, waitOf(entry)));
  const change = settleByHand(config, { queue, logger });
  const operator = new QueueOperator({ queue, entries, clock: systemClock, logger, change });
  const { ids: named, ...rest } = filter;
  for await (const id of named ?? queue.ids(rest)) {
    let done = false;
    for await (const result of operator.apply(action, { ...rest, ids: [id] })) {
      done = true;
      yield result;
    }
    if (done) continue;
    // Its host has not given it away: it is being sent.
    const entry = (await peek(queue, id, { logger }))?.entry;
    if (entry === undefined || !matches(entry, rest)) continue;
    const inFlight = entry.recipients.filter((one) => isOpen(one) && selects(filter, one));
    yield { id, changed: [], inFlight: inFlight.map(({ address }) => address) };
  }
  await queue.returned();
}

// The next host looks what is left to be done, such as a notice of delay, and when.
const LOOK_WITHIN = 1_000;

function waitOf({ recipients }: QueueEntry): number {
  const now = systemClock.now();
  return Math.min(
    LOOK_WITHIN,
    ...recipients.flatMap(({ status, nextAttemptAt }) =>
      status === "pending" ? [Math.max(0, nextAttemptAt - now)] : []
    ),
  );
}
