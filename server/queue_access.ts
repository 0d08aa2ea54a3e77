/**
 * The queue for inspection and management: through a running serve-out, else the spool itself under its lock.
 *
 * @module
 */
import process from "node:process";
import { join } from "@std/path";
import type { Config } from "../config/config.ts";
import { type Log, startLog } from "../observe/logger.ts";
import { ControlClient } from "../relay/control_client.ts";
import { ControlError } from "../relay/control_protocol.ts";
import { CONTROL_SOCKET } from "../relay/control_socket.ts";
import { maildropDirectory } from "../relay/maildrop/directory.ts";
import { noticeComposer } from "../relay/dsn.ts";
import { DkimSigner } from "../dkim/sign.ts";
import { NoticeError, OpenEntries, StoreError } from "../relay/open_entries.ts";
import { QueueOperator } from "../relay/operator.ts";
import { type ComposeNotice, settle } from "../relay/settle.ts";
import { SpoolLockedError } from "../relay/spool/directory.ts";
import { systemClock } from "../base/clock.ts";
import { loadDkimKeys, signedNotices } from "./dkim_parts.ts";
import { CommandError, EXIT } from "./exit_codes.ts";
import type { Io } from "./io.ts";
import { openLog } from "./log_parts.ts";
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
  try {
    return await untilUnlocked(() => findQueue(config, io));
  } catch (error) {
    const lock = error instanceof CommandError ? error.cause : undefined;
    if (!(lock instanceof SpoolLockedError)) throw error;
    const message = `${lock.message}, and it does not answer; try again later`;
    throw new CommandError(message, EXIT.tryAgain, { cause: lock });
  }
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
      `${path} is not for this account: run this as root, or as the account of serve-out`,
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
  process.setgid?.(group);
  process.setuid?.(owner);
  return true;
}

async function openDirectly(config: Config, io: Io): Promise<QueueAccess> {
  await using opened = new AsyncDisposableStack();
  const { logger } = opened.use(openServersLog(config, io));
  const spool = opened.use(await openSpool(config, { logger }));
  const { hostname, serveOut } = config;
  const entries = new OpenEntries(spool);
  const compose = signedAtNeed(
    noticeComposer({ queue: spool, hostname, expireAfter: serveOut.expireAfterMs }),
    async () => new DkimSigner({ keys: await loadDkimKeys(config), logger }),
  );
  const operator = new QueueOperator({
    queue: spool,
    entries,
    clock: systemClock,
    logger,
    change: async (opened) => {
      try {
        await settle(opened, {
          queue: spool,
          logger,
          compose,
          // Only serve-out can tell whether it is late.
          delayNoticeAfter: Infinity,
          // The next serve-out will find it.
          submit: () => {},
        });
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        if (!(error instanceof NoticeError)) {
          throw new CommandError(error.message, EXIT.tryAgain, { cause: error });
        }
        // The next serve-out will write it.
        logger.error("dsn.failed", { id: opened.entry.id, error: error.message });
      }
      return true;
    },
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

/**
 * Signs notices as serve-out does. The keys are read only when there is a notice: inspecting the queue needs none. If
 * they cannot be read, the notice waits for the next serve-out.
 */
function signedAtNeed(compose: ComposeNotice, open: () => Promise<DkimSigner>): ComposeNotice {
  let signed: Promise<ComposeNotice> | undefined;
  return async (request) =>
    await (await (signed ??= open().then((signer) => signedNotices(compose, signer))))(request);
}

/** The log of serve-out; if that is standard error, only warnings and errors are shown to the user. */
function openServersLog(config: Config, io: Io): Log {
  if (config.log.file) return openLog(config, { ...io, server: "mailapp queue" });
  const decoder = new TextDecoder();
  return startLog({
    level: "warn",
    format: "text",
    file: "",
    isTerminal: io.isTerminal,
    standardError: {
      write: (data) => {
        io.err(decoder.decode(data));
        return Promise.resolve(data.length);
      },
      close: () => {},
    },
  });
}
