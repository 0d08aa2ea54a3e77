/**
 * Moves a queue from the spool to PostgreSQL and back. A message leaves where it was only when it is durable where it
 * goes, under the same id, so that whoever is interrupted can go on.
 *
 * @module
 */
import type { Config } from "../config/config.ts";
import type { Queue, QueueDraft } from "../relay/queue.ts";
import type { QueueEntry } from "../relay/queue_entry.ts";
import type { Io } from "./io.ts";
import { openServersLog } from "./queue_log.ts";
import { connectQueue } from "./postgres_parts.ts";
import type { PostgresConfig } from "./queue_parts.ts";
import { openSpool, untilUnlocked } from "./spool_parts.ts";

/** The outcome. */
export interface Copied {
  /** Messages that are where they were to go. */
  readonly moved: number;
  /** Messages that are still where they were, as they are being sent or cannot be read. */
  readonly left: number;
}

/**
 * Moves all messages. serve-out must not have the spool open.
 * @param options `step`: called after each message; `dryRun`: only counts, and moves nothing
 * @throws {CommandError} when one of the queues cannot be opened
 */
export async function copyQueue(
  config: Config,
  { queue, toPostgres, io, step, dryRun = false }: {
    readonly queue: PostgresConfig;
    readonly toPostgres: boolean;
    readonly io: Io;
    readonly step: () => void;
    readonly dryRun?: boolean;
  },
): Promise<Copied> {
  await using log = openServersLog(config, io);
  const { logger } = log;
  await using spool = await untilUnlocked(() => openSpool(config, { logger }));
  const name = `${config.hostname} (mailapp queue copy)`;
  await using postgres = await connectQueue(config, queue, { logger, name });
  const from: Queue = toPostgres ? spool : postgres;
  const isThere = async (id: string) =>
    toPostgres ? await postgres.shared.wasAdded(id) : await spool.load(id) !== undefined;
  const begin = (id: string) => toPostgres ? postgres.begin(id, { remember: true }) : spool.begin(id);
  // Ids begin with the time: the oldest first, as far as the list in memory allows.
  const ids = (await Array.fromAsync(from.ids())).sort();
  let moved = 0;
  let left = 0;
  for (const id of ids) {
    if (!toPostgres) await postgres.obtain(id);
    const entry = await from.load(id);
    if (entry === undefined) {
      left++;
      continue;
    }
    if (!dryRun) {
      if (!await isThere(id)) await copy(entry, { from, draft: begin(id) });
      await from.remove(id);
    }
    moved++;
    step();
  }
  return { moved, left };
}

async function copy(
  entry: QueueEntry,
  { from, draft }: { readonly from: Queue; readonly draft: QueueDraft },
): Promise<void> {
  await using _draft = draft;
  await using message = await from.open(entry.id);
  for await (const chunk of message.chunks()) await draft.write(chunk);
  await draft.commit(entry, new Uint8Array());
}
