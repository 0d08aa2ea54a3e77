/**
 * A thread that holds dialogues of serve-out: it signs messages and writes them into the spool; serve-out's thread gives
 * them their places, and relays them.
 *
 * @module
 */
import { silentLogger } from "../../base/log.ts";
import { DkimSigner } from "../../dkim/sign.ts";
import { bindShared } from "../../net/listen.ts";
import { type Entered, IntakeQueue } from "../../relay/spool/intake_queue.ts";
import { SharedConnectionCounts } from "../../smtp/shared_connection_counts.ts";
import { SharedClaims } from "../../storage/shared_claims.ts";
import { loadDkimKeys } from "../dkim_parts.ts";
import { openLog } from "../log_parts.ts";
import { OwnIntake } from "./intake.ts";
import type { IntakeStart } from "./messages.ts";
import { type Ask, type DialoguesScope, runDialogues, type RunningDialogues } from "./thread.ts";

/** Runs the thread, for the rest of its life. */
export function runIntake(scope: DialoguesScope<IntakeStart>): void {
  runDialogues(scope, open);
}

const NO_ANSWER: Entered = { stored: false, fault: "other", error: "serve-out's thread did not store it" };

async function open(start: IntakeStart, ask: Ask): Promise<RunningDialogues> {
  const { config, thread, endpoints, counts, systemHostname } = start;
  const share = 1 / counts.threads;
  const keys = await loadDkimKeys(config, { share });
  const log = openLog(config, { ...start, wholeLines: true });
  const { logger } = log;
  // serve-out's thread logs the keys, and what is wrong with the limits.
  const signer = new DkimSigner({ keys, logger });
  const queue = new IntakeQueue({
    share: start.queue,
    thread,
    enter: async (finished) => await ask(finished) as Entered | undefined ?? NO_ANSWER,
  });
  const dialogues = new OwnIntake(config, {
    queue,
    directory: queue.directory,
    probe: () => queue.probe(),
    accepted: () => {},
    systemHostname,
    signer,
    logger,
    commonLogger: thread === 0 ? logger : silentLogger,
    share,
    counts: new SharedConnectionCounts(counts, thread),
    claims: new SharedClaims(start.claims, thread),
    bind: bindShared,
  });
  dialogues.open(endpoints);
  return {
    log,
    dialogues,
    reopen: () => Promise.resolve(),
    apply: async (next) => signer.replaceKeys(await loadDkimKeys(next, { share })),
    close: () => Promise.resolve(),
  };
}
