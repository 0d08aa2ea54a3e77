/**
 * A thread that holds dialogues of serve-in, with mailboxes and checks of its own.
 *
 * @module
 */
import { silentLogger } from "../../base/log.ts";
import type { GreylistDecision, GreylistPort, GreylistSender } from "../../checks/greylist.ts";
import { bindShared } from "../../net/listen.ts";
import { SharedConnectionCounts } from "../../smtp/shared_connection_counts.ts";
import { SharedClaims } from "../../storage/shared_claims.ts";
import { openCertificates } from "../certificate_parts.ts";
import { openLog } from "../log_parts.ts";
import type { ServeInDialoguesStart } from "./messages.ts";
import { applyToParts, openChecks, openDelivery, OwnDialogues } from "./own.ts";
import { type Ask, type DialoguesScope, runDialogues, type RunningDialogues } from "./thread.ts";

/** How long the thread with the greylist may take, in milliseconds; then the sender counts as known. */
const GREYLIST_TIMEOUT = 5_000;

/** Runs the thread, for the rest of its life. */
export function runServeInDialogues(scope: DialoguesScope<ServeInDialoguesStart>): void {
  runDialogues(scope, open);
}

async function open(start: ServeInDialoguesStart, ask: Ask): Promise<RunningDialogues> {
  const { config, thread, dnsServers, endpoints, nameParts, counts } = start;
  const claims = new SharedClaims(start.claims, thread);
  const share = 1 / counts.threads;
  const log = openLog(config, { ...start, wholeLines: true });
  const { logger } = log;
  // serve-in's thread logs the certificate, and what is wrong with it.
  const certificates = await openCertificates(config, silentLogger);
  const delivery = openDelivery(config, { logger, common: { nameParts, claims, share } });
  const greylist = remoteGreylist(ask);
  const checks = await openChecks(config, { delivery, dnsServers, logger, greylist });
  const dialogues = new OwnDialogues(config, {
    delivery,
    checks,
    certificates,
    logger,
    share,
    listenerLogger: thread === 0 ? logger : silentLogger,
    counts: new SharedConnectionCounts(counts, thread),
    bind: bindShared,
  });
  dialogues.follow(endpoints);
  return {
    log,
    dialogues,
    reopen: async () => void await certificates?.reload(),
    apply: (next) => applyToParts(next, { delivery, checks }),
    close: async () => {
      certificates?.[Symbol.dispose]();
      await checks[Symbol.asyncDispose]();
    },
  };
}

const KNOWN: GreylistDecision = { known: true };

/** The greylist of serve-in's thread. */
function remoteGreylist(ask: Ask): GreylistPort {
  return {
    ask: async (sender: GreylistSender) => {
      const { promise, resolve } = Promise.withResolvers<GreylistDecision>();
      const timer = setTimeout(() => resolve(KNOWN), GREYLIST_TIMEOUT);
      const decision = await Promise.race([ask(sender) as Promise<GreylistDecision | undefined>, promise]);
      clearTimeout(timer);
      return decision ?? KNOWN;
    },
  };
}
