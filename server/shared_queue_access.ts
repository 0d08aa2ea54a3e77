/**
 * The queue in PostgreSQL for inspection and management: past every server, as the database has all of it. What another
 * host has is asked of it.
 *
 * @module
 */
import type { Config } from "../config/config.ts";
import { systemClock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { OpenEntries } from "../relay/open_entries.ts";
import type { QueueOperator } from "../relay/operator.ts";
import { type DomainView, viewDomain } from "../relay/postgres/hosts.ts";
import type { PostgresQueue } from "../relay/postgres/postgres_queue.ts";
import { SharedOperator } from "../relay/postgres/shared_operator.ts";
import type { QueueEntry } from "../relay/queue_entry.ts";
import { longestDelay } from "../relay/retry_schedule.ts";
import { asCommand, connectDatabase, connectQueue } from "./postgres_parts.ts";
import type { PostgresConfig } from "./queue_parts.ts";
import { retrySchedule } from "./relay_parts.ts";
import { settleByHand } from "./settle_by_hand.ts";

/** What there is of it for commands. */
export type SharedQueueAccess = Pick<QueueOperator, "list" | "apply" | "content">;

/**
 * The queue of this configuration, which is in PostgreSQL.
 * @throws {CommandError} by what it returns, when that cannot be done now
 */
export function sharedQueueAccess(
  config: Config,
  { queue, logger }: { readonly queue: PostgresConfig; readonly logger: Logger },
): SharedQueueAccess {
  const look = () => connectQueue(config, queue, { logger, view: true });
  const name = `${config.hostname} (mailapp queue)`;
  const join = () => connectQueue(config, queue, { logger, name });
  return {
    list: (filter) => onQueue(look, (opened) => operatorOf(opened, { config, logger }).list(filter)),
    apply: (action, filter, options) =>
      onQueue(join, (opened) => operatorOf(opened, { config, logger }).apply(action, filter, options)),
    content: (id) => onQueue(look, (opened) => operatorOf(opened, { config, logger }).content(id)),
  };
}

/**
 * What the whole queue has for one domain.
 * @throws {CommandError} when the database cannot be asked now
 */
export async function sharedDomain(queue: PostgresConfig, domain: string): Promise<DomainView> {
  await using database = await connectDatabase(queue);
  return await asCommand(() => viewDomain(database, domain));
}

/** Does something on the queue, which is open as long as that takes. */
async function* onQueue<T>(
  open: () => Promise<PostgresQueue>,
  work: (queue: PostgresQueue) => AsyncGenerator<T, void, void>,
): AsyncGenerator<T, void, void> {
  await using queue = await open();
  const items = work(queue);
  try {
    for (;;) {
      const { value, done } = await asCommand(() => items.next());
      if (done) return;
      yield value;
    }
  } finally {
    await items.return();
  }
}

function operatorOf(
  queue: PostgresQueue,
  { config, logger }: { readonly config: Config; readonly logger: Logger },
): SharedOperator {
  return new SharedOperator(queue, {
    entries: new OpenEntries(queue, (entry) => void queue.shared.giveBack(entry, waitOf(entry))),
    clock: systemClock,
    logger,
    change: settleByHand(config, { queue, logger }),
    clearHostBackoff: () => queue.shared.hosts?.clear(),
    longestWait: () => longestDelay(retrySchedule(config)),
  });
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
