/**
 * What follows when a command changes an entry without serve-out: the notices, and the end of the entry.
 *
 * @module
 */
import type { Config } from "../config/config.ts";
import type { Logger } from "../base/log.ts";
import { DkimSigner } from "../dkim/sign.ts";
import { noticeComposer } from "../relay/dsn.ts";
import { NoticeError, type OpenEntry, StoreError } from "../relay/open_entries.ts";
import type { Queue } from "../relay/queue.ts";
import type { QueueEntry } from "../relay/queue_entry.ts";
import { type ComposeNotice, settle } from "../relay/settle.ts";
import { loadDkimKeys, signedNotices } from "./dkim_parts.ts";
import { CommandError, EXIT } from "./exit_codes.ts";

/**
 * Stores changed entries and does what follows.
 * @throws {CommandError} by what it returns, when an entry cannot be stored
 */
export function settleByHand(
  config: Config,
  { queue, logger }: { readonly queue: Queue; readonly logger: Logger },
): (opened: OpenEntry) => Promise<boolean> {
  const { hostname, serveOut } = config;
  const compose = signedAtNeed(
    noticeComposer({ queue, hostname, expireAfter: serveOut.expireAfterMs }),
    async () => new DkimSigner({ keys: await loadDkimKeys(config), logger }),
  );
  return async (opened) => {
    try {
      await settle(opened, {
        queue,
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
  };
}

/**
 * Tells whether an entry is a notice that a crash left half done: then the message that it is about still names it, and
 * the next serve-out would write another in its place. Reads the whole queue once, at the first notice.
 */
export function halfDoneNotices(
  queue: Pick<Queue, "ids" | "load">,
): (entry: QueueEntry) => Promise<boolean> {
  let named: Promise<ReadonlySet<string>> | undefined;
  return async ({ id, reversePath }) => reversePath === "" && (await (named ??= namedNotices(queue))).has(id);
}

async function namedNotices(queue: Pick<Queue, "ids" | "load">): Promise<ReadonlySet<string>> {
  const named = new Set<string>();
  for await (const id of queue.ids()) {
    // One that cannot be read is logged when it is its turn.
    const entry = await queue.load(id).catch(() => undefined);
    for (const { notice } of entry?.recipients ?? []) if (notice !== undefined) named.add(notice);
  }
  return named;
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
