/**
 * The queue of a configuration: the spool, or the one in PostgreSQL.
 *
 * @module
 */
import type { Config, QueueConfig } from "../config/config.ts";
import type { Logger } from "../base/log.ts";
import { QueueOperator, type QueueOperatorOptions } from "../relay/operator.ts";
import type { Queue } from "../relay/queue.ts";
import type { SharedCounts } from "./metrics_parts.ts";
import type { Spool } from "../relay/spool/spool.ts";
import { SpoolLockedError, takeLock } from "../relay/spool/directory.ts";
import { lockedBy, openSpool, spoolDirectory } from "./spool_parts.ts";

/** The queue as a server has it open. */
export interface ServerQueue extends Queue, AsyncDisposable {
  /** The spool, unless it is another queue. */
  readonly spool?: Spool;
  /** The folder on this machine that must have room for what is received. */
  readonly directory: string;
  /** Tries whether anything can be stored; rejects if not. */
  probe(): Promise<void>;
  /** What all hosts have of it; absent where it has one host. */
  counts?(): Promise<SharedCounts>;
  /** What inspects and manages it, on any host all of it. */
  operator(options: Omit<QueueOperatorOptions, "queue">): Pick<QueueOperator, "list" | "apply" | "content">;
  /** Does what makes room in the end, or tells how, even on a full disk. */
  withRoom<T>(work: () => Promise<T>): Promise<T>;
}

/** The configuration of a queue in PostgreSQL. */
export type PostgresConfig = QueueConfig & { readonly store: "postgres" };

/**
 * Opens the queue for a server.
 * @throws {CommandError} when that cannot be done now
 */
export async function openServerQueue(
  config: Config,
  { logger, boot, current, intakeThreads = 0 }: {
    readonly logger: Logger;
    readonly boot: string | undefined;
    /** Other threads that take messages; only for a spool. */
    readonly intakeThreads?: number;
    /** The configuration in use, which a reload can replace. */
    readonly current: () => Config;
  },
): Promise<ServerQueue> {
  const { queue } = config;
  if (queue.store === "spool") {
    const spool = await openSpool(config, { logger, boot, current, intakeThreads });
    return Object.assign(spool, {
      spool,
      operator: (options: Omit<QueueOperatorOptions, "queue">) =>
        new QueueOperator({ ...options, queue: spool }),
    });
  }
  await using opened = new AsyncDisposableStack();
  // One process at a time has data_dir, with its control socket.
  const directory = spoolDirectory(config);
  await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
  try {
    const lock = await takeLock(directory);
    opened.defer(() => lock.close());
  } catch (error) {
    if (!(error instanceof SpoolLockedError)) throw error;
    throw lockedBy(error, directory);
  }
  if (queue.durability === "primary") {
    logger.warn("config.warning", {
      warning: 'queue.durability = "primary": accepted mail that only the primary has is lost with it',
    });
  }
  const [{ connectQueue }, { SharedOperator }] = await Promise.all([
    import("./postgres_parts.ts"),
    import("../relay/postgres/shared_operator.ts"),
  ]);
  const postgres = await connectQueue(config, queue, { logger, current });
  opened.defer(() => postgres.close());
  const kept = opened.move();
  return Object.assign(postgres, {
    operator: (options: Omit<QueueOperatorOptions, "queue">) => new SharedOperator(postgres, options),
    withRoom: <T>(work: () => Promise<T>) => work(),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  });
}
