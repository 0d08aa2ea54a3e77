/**
 * The queue for inspection and management: through a running serve-out, else the spool itself under its lock; the one
 * in PostgreSQL through the database.
 *
 * @module
 */
import { join } from "@std/path";
import type { Config } from "../config/config.ts";
import { ControlClient } from "../relay/control_client.ts";
import { ControlError } from "../relay/control_protocol.ts";
import { CONTROL_SOCKET } from "../relay/control_socket.ts";
import { maildropDirectory } from "../relay/maildrop/directory.ts";
import { OpenEntries } from "../relay/open_entries.ts";
import { QueueOperator } from "../relay/operator.ts";
import { SpoolLockedError } from "../relay/spool/directory.ts";
import { longestDelay } from "../relay/retry_schedule.ts";
import { systemClock } from "../base/clock.ts";
import { CommandError, EXIT } from "./exit_codes.ts";
import { becomeAccount } from "./become_account.ts";
import type { Io } from "./io.ts";
import { openServersLog } from "./queue_log.ts";
import { retrySchedule } from "./relay_parts.ts";
import { halfDoneNotices, settleByHand } from "./settle_by_hand.ts";
import type { PostgresConfig } from "./queue_parts.ts";
import { openSpool, spoolDirectory, untilUnlocked } from "./spool_parts.ts";

/** The queue, to inspect and manage. */
export interface QueueAccess extends AsyncDisposable {
  readonly list: QueueOperator["list"];
  readonly apply: QueueOperator["apply"];
  readonly content: QueueOperator["content"];
  /** Whether serve-out is running, and so acts at once. */
  readonly running: boolean;
  /** Where programs leave mail while it is stopped. */
  readonly maildrop: string;
}

/**
 * Opens the queue.
 * @throws {CommandError} when this account may not, or it cannot be opened now
 */
export async function openQueue(config: Config, io: Io): Promise<QueueAccess> {
  if (config.queue.store === "postgres") return await openShared(config, { queue: config.queue, io });
  try {
    return await untilUnlocked(() => findQueue(config, io));
  } catch (error) {
    const lock = error instanceof CommandError ? error.cause : undefined;
    if (!(lock instanceof SpoolLockedError)) throw error;
    const message = `${lock.message}, and it does not answer; try again later`;
    throw new CommandError(message, EXIT.tryAgain, { cause: lock });
  }
}

async function openShared(
  config: Config,
  { queue, io }: { readonly queue: PostgresConfig; readonly io: Io },
): Promise<QueueAccess> {
  const { sharedQueueAccess } = await import("./shared_queue_access.ts");
  const log = openServersLog(config, io);
  return {
    // On any host; what waits for one shows in `queue hosts`.
    running: true,
    maildrop: maildropDirectory(config.dataDir),
    ...sharedQueueAccess(config, { queue, logger: log.logger }),
    [Symbol.asyncDispose]: () => log[Symbol.asyncDispose](),
  };
}

/** The server's answers; its errors become errors for the user. */
async function* answers<T>(items: AsyncGenerator<T, void, void>): AsyncGenerator<T, void, void> {
  try {
    yield* items;
  } catch (error) {
    if (!(error instanceof ControlError)) throw error;
    throw new CommandError(`serve-out: ${error.message}`, EXIT.tryAgain, { cause: error });
  }
}

async function findQueue(config: Config, io: Io): Promise<QueueAccess> {
  const maildrop = maildropDirectory(config.dataDir);
  const client = await findServer(config);
  if (client !== undefined) {
    return {
      running: true,
      maildrop,
      list: (filter) => answers(client.list(filter)),
      apply: (action, filter, options) => answers(client.apply(action, filter, options)),
      content: (id) => answers(client.content(id)),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  }
  if (!await isThere(config)) {
    const nothing = async function* () {};
    return {
      running: false,
      maildrop,
      list: nothing,
      apply: nothing,
      content: nothing,
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  }
  return await openDirectly(config, io);
}

/**
 * The running serve-out of this configuration; `undefined` when none is.
 * @throws {CommandError} when it is running, but this account may not use it
 */
export async function findServer(config: Config): Promise<ControlClient | undefined> {
  const path = join(config.dataDir, CONTROL_SOCKET);
  try {
    return await ControlClient.find(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.PermissionDenied)) throw error;
    throw new CommandError(
      `this account may not access ${path}: run this as root, or as the account of serve-out`,
      EXIT.noPermission,
      {
        cause: error,
      },
    );
  }
}

async function isThere(config: Config): Promise<boolean> {
  const directory = spoolDirectory(config);
  let owner: number | null;
  let group: number | null;
  try {
    ({ uid: owner, gid: group } = await Deno.stat(directory));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    if (!(error instanceof Deno.errors.PermissionDenied)) throw error;
    throw new CommandError(`${directory}: ${error.message}`, EXIT.noPermission, { cause: error });
  }
  // serve-out could not read files of another account there.
  if (owner === null || group === null || owner === Deno.uid()) return true;
  if (Deno.uid() !== 0) {
    throw new CommandError(
      `serve-out does not run, and its spool ${directory} belongs to uid ${owner}: run this as root, or as that account`,
      EXIT.noPermission,
    );
  }
  // Root switches to that account for the rest of this command.
  becomeAccount({ uid: owner, gid: group });
  return true;
}

async function openDirectly(config: Config, io: Io): Promise<QueueAccess> {
  await using opened = new AsyncDisposableStack();
  const { logger } = opened.use(openServersLog(config, io));
  const spool = opened.use(await openSpool(config, { logger }));
  const operator = new QueueOperator({
    queue: spool,
    entries: new OpenEntries(spool),
    clock: systemClock,
    logger,
    change: settleByHand(config, { queue: spool, logger }),
    mayBeHalfDone: halfDoneNotices(spool),
    longestWait: () => longestDelay(retrySchedule(config)),
  });
  const kept = opened.move();
  return {
    running: false,
    maildrop: maildropDirectory(config.dataDir),
    list: (filter) => operator.list(filter),
    apply: (action, filter, options) => operator.apply(action, filter, options),
    content: (id) => operator.content(id),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}
