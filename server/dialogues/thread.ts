/**
 * A thread that holds dialogues of serve-in: it listens on the same ports as the others, has mailboxes, checks and a log
 * of its own, and takes orders from serve-in's thread.
 *
 * @module
 */
import { errorText } from "../../base/error_text.ts";
import { silentLogger } from "../../base/log.ts";
import { FigureChanges } from "../../base/thread_figures.ts";
import type { GreylistDecision, GreylistPort, GreylistSender } from "../../checks/greylist.ts";
import type { MaildirDelivery } from "../../maildir/delivery.ts";
import { bindShared } from "../../net/listen.ts";
import type { Log } from "../../observe/logger.ts";
import { SharedConnectionCounts } from "../../smtp/shared_connection_counts.ts";
import { SharedClaims } from "../../storage/shared_claims.ts";
import type { Certificates } from "../../tls/certificates.ts";
import { openCertificates } from "../certificate_parts.ts";
import type { Checks } from "../check_parts.ts";
import { CommandError, EXIT } from "../exit_codes.ts";
import { openLog } from "../log_parts.ts";
import type { StopReason } from "../signals.ts";
import type { ThreadScope } from "../threads.ts";
import type { DialoguesStart, FromDialogues, ToDialogues } from "./messages.ts";
import { applyToParts, openChecks, openDelivery, OwnDialogues } from "./own.ts";

/** How long the thread with the greylist may take, in milliseconds; then the sender counts as known. */
const GREYLIST_TIMEOUT = 5_000;

/** The scope of such a thread. */
export type DialoguesScope = ThreadScope<ToDialogues, FromDialogues>;

/** Runs the thread, for the rest of its life. */
export function runDialogues(scope: DialoguesScope): void {
  const thread = new DialoguesThread(scope);
  scope.onmessage = ({ data }) => thread.hear(data);
  scope.postMessage({ kind: "loaded" });
}

interface Running {
  readonly log: Log;
  readonly certificates: Certificates | undefined;
  readonly delivery: MaildirDelivery;
  readonly checks: Checks;
  readonly dialogues: OwnDialogues;
}

class DialoguesThread {
  readonly #scope: DialoguesScope;
  readonly #figures = new FigureChanges();
  readonly #greylist: RemoteGreylist;
  readonly #forced = new AbortController();
  #running: Running | undefined;
  /** What comes while it starts waits for it: it may say something newer than what it is started with. */
  #started = Promise.resolve();
  #stopping = false;

  constructor(scope: DialoguesScope) {
    this.#scope = scope;
    this.#greylist = new RemoteGreylist((number, sender) =>
      scope.postMessage({ kind: "greylist", number, sender })
    );
  }

  hear(message: ToDialogues): void {
    switch (message.kind) {
      case "start":
        this.#started = this.#start(message.start);
        return;
      case "follow":
        return void this.#started.then(() => this.#running?.dialogues.follow(message.endpoints));
      case "reopen":
        return void this.#answer(message, (running) => reopen(running));
      case "apply":
        return void this.#answer(message, async ({ log, delivery, checks, dialogues }) => {
          await applyToParts(message.config, { delivery, checks });
          await dialogues.apply(message.config);
          log.level = message.config.log.level;
        });
      case "figures":
        return void this.#answer(message, () => Promise.resolve());
      case "greylist":
        return this.#greylist.hear(message.number, message.decision);
      case "stop":
        return void this.#stop(message.reason);
      case "force":
        this.#forced.abort();
    }
  }

  async #start(start: DialoguesStart): Promise<void> {
    try {
      this.#running = await open(start, this.#greylist);
      this.#scope.postMessage({ kind: "ready" });
    } catch (error) {
      const exitCode = error instanceof CommandError ? error.exitCode : EXIT.software;
      this.#scope.postMessage({ kind: "failed", error: errorText(error), exitCode });
    }
  }

  async #answer(
    { number }: { readonly number: number },
    work: (running: Running) => Promise<void>,
  ): Promise<void> {
    await this.#started;
    const running = this.#running;
    try {
      if (running !== undefined) await work(running);
    } catch (error) {
      running?.log.logger.error("config.not_reloaded", {
        error: errorText(error),
        action: "keeping the old one",
      });
    }
    this.#scope.postMessage({ kind: "done", number, figures: this.#figures.take() });
  }

  async #stop(reason: StopReason): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    const running = this.#running;
    if (running !== undefined) {
      await running.dialogues.shutdown(reason, this.#forced.signal);
      running.certificates?.[Symbol.dispose]();
      await running.checks[Symbol.asyncDispose]();
      await running.log[Symbol.asyncDispose]();
    }
    this.#scope.postMessage({ kind: "ended", figures: this.#figures.take() });
  }
}

async function open(start: DialoguesStart, greylist: GreylistPort): Promise<Running> {
  const { config, thread, dnsServers, endpoints, nameParts, counts } = start;
  const claims = new SharedClaims(start.claims, thread);
  const share = 1 / counts.threads;
  const log = openLog(config, { ...start, wholeLines: true });
  const { logger } = log;
  // serve-in's thread logs the certificate, and what is wrong with it.
  const certificates = await openCertificates(config, silentLogger);
  const delivery = openDelivery(config, { logger, common: { nameParts, claims, share } });
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
  return { log, certificates, delivery, checks, dialogues };
}

/** What goes wrong with the file is logged by serve-in's thread, which has it open too. */
async function reopen({ log, certificates }: Running): Promise<void> {
  await log.reopen().catch(() => {});
  await certificates?.reload();
}

/** The greylist of serve-in's thread. */
class RemoteGreylist implements GreylistPort {
  readonly #ask: (number: number, sender: GreylistSender) => void;
  readonly #waiting = new Map<number, (decision: GreylistDecision) => void>();
  #asked = 0;

  constructor(ask: (number: number, sender: GreylistSender) => void) {
    this.#ask = ask;
  }

  async ask(sender: GreylistSender): Promise<GreylistDecision> {
    const number = ++this.#asked;
    const { promise, resolve } = Promise.withResolvers<GreylistDecision>();
    this.#waiting.set(number, resolve);
    const timer = setTimeout(() => this.hear(number, { known: true }), GREYLIST_TIMEOUT);
    this.#ask(number, sender);
    const decision = await promise;
    clearTimeout(timer);
    return decision;
  }

  hear(number: number, decision: GreylistDecision): void {
    this.#waiting.get(number)?.(decision);
    this.#waiting.delete(number);
  }
}
