/**
 * The server of `mailapp serve-in`, as it runs in its thread.
 *
 * @module
 */
import { systemClock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { GreylistSender } from "../checks/greylist.ts";
import type { Config } from "../config/config.ts";
import type { MaildirDelivery } from "../maildir/delivery.ts";
import { createNameParts } from "../maildir/unique_name.ts";
import type { Log } from "../observe/logger.ts";
import { createSharedClaims, SharedClaims, type SharedClaimsData } from "../storage/shared_claims.ts";
import type { Certificates } from "../tls/certificates.ts";
import { serveInEndpoints } from "./addresses.ts";
import { openCertificates } from "./certificate_parts.ts";
import type { Checks } from "./check_parts.ts";
import { dialogueThreads } from "./dialogues/count.ts";
import { dialogueGrants } from "./dialogues/grants.ts";
import { DIALOGUES } from "./dialogues/messages.ts";
import {
  applyToParts,
  type Common,
  type Dialogues,
  openChecks,
  openDelivery,
  OwnDialogues,
} from "./dialogues/own.ts";
import { EXIT, type ExitCode } from "./exit_codes.ts";
import { serveInFixed } from "./fixed_settings.ts";
import type { Endpoint } from "./listeners.ts";
import { openLog } from "./log_parts.ts";
import { openMetrics } from "./metrics_parts.ts";
import { missingCertificateWarnings, requireDomains } from "./parts.ts";
import { watchServeIn } from "./problem_parts.ts";
import { reloader } from "./reload.ts";
import type { ServerContext, ServerStart } from "./server_start.ts";
import { startThread } from "./threads.ts";
import { VERSION } from "./version.ts";

const CLEAN_INTERVAL = 6 * 3600 * 1000;

/** Serves until it is stopped; returns the exit code. */
export async function runServeIn(
  start: ServerStart,
  { signals, onAddresses, entry }: ServerContext,
): Promise<ExitCode> {
  const { config } = start;
  const count = dialogueThreads(config);
  const shared = count === 1 ? undefined : share(count);
  await using log = openLog(config, { ...start, wholeLines: count > 1 });
  const { logger } = log;
  using certificates = await openCertificates(config, logger);
  const warnings = [
    ...config.warnings,
    ...(certificates === undefined ? missingCertificateWarnings(config) : []),
  ];
  for (const warning of warnings) logger.warn("config.warning", { warning });

  const delivery = openDelivery(config, { logger, common: shared?.own });
  await using checks = await openChecks(config, { delivery, dnsServers: start.dnsServers, logger });
  const parts = { delivery, checks, certificates, logger };
  const endpoints = (addresses: ServerStart["addresses"]) =>
    serveInEndpoints({ serveIn: { ...config.serveIn, ...start.ports } }, {
      hasCertificate: certificates !== undefined,
      addresses,
    });
  const dialogues: Dialogues = shared === undefined
    ? openHere(config, { parts, endpoints: endpoints(start.addresses) })
    : await openThreads(start, { count, shared, entry, parts, endpoints: endpoints(start.addresses) });
  onAddresses((addresses) => dialogues.follow(endpoints(addresses)));
  await using _metrics = await openMetrics(config, {
    server: "serve-in",
    logger,
    refresh: async () => await dialogues.refreshFigures?.(),
  });
  logger.info("server.ready", {
    server: "serve-in",
    hostname: config.hostname,
    version: VERSION,
    pid: Deno.pid,
    ...(count > 1 && { threads: count }),
  });
  const live = { config };
  signals.onReload(reload(start, { delivery, dialogues, checks, log, certificates, live }));
  const stopping = new AbortController();
  const cleaning = setInterval(() => delivery.cleanTmp(), CLEAN_INTERVAL);
  const firstCleaning = delivery.makeMaildirs({ signal: stopping.signal }).then(() => delivery.cleanTmp());
  await using _watch = await watchServeIn(live, {
    delivery,
    certificates,
    resolver: () => checks.resolver,
    clock: systemClock,
    logger,
  });

  const signal = await signals.stopped;
  logger.info("server.stopping", { signal, connections: dialogues.connections });
  stopping.abort();
  clearInterval(cleaning);
  await dialogues.shutdown(signal, signals);
  await firstCleaning;
  logger.info("server.stopped");
  return EXIT.ok;
}

/** What this thread shares with those of the dialogues. */
interface Shared {
  readonly claims: SharedClaimsData;
  readonly own: Common;
}

/** The paths of a delivery: of the Maildirs, and of messages that wait. */
const PATHS = 2;

function share(count: number): Shared {
  const claims = createSharedClaims({ threads: count + 1, paths: PATHS });
  // This thread stores nothing but its own notices.
  const own = { nameParts: createNameParts(), claims: new SharedClaims(claims, count), share: 1 };
  return { claims, own };
}

interface Parts {
  readonly delivery: MaildirDelivery;
  readonly checks: Checks;
  readonly certificates: Certificates | undefined;
  readonly logger: Logger;
}

/** Opens the dialogues in this thread. */
function openHere(
  config: Config,
  { parts, endpoints }: { readonly parts: Parts; readonly endpoints: readonly Endpoint[] },
): OwnDialogues {
  const dialogues = new OwnDialogues(config, parts);
  dialogues.open(endpoints);
  return dialogues;
}

/** Opens the dialogues in threads of their own. */
async function openThreads(
  start: ServerStart,
  { count, shared: { claims, own: { nameParts } }, entry, parts: { checks, logger }, endpoints }: {
    readonly count: number;
    readonly shared: Shared;
    readonly entry: string;
    readonly parts: Parts;
    readonly endpoints: readonly Endpoint[];
  },
): Promise<Dialogues> {
  const { DialogueThreads } = await import("./dialogues/threads.ts");
  const { config } = start;
  const grants = dialogueGrants(config, {
    addresses: start.addresses.map(({ address }) => address),
    dnsServers: start.dnsServers,
    ...(start.ports && { ports: start.ports }),
  });
  return await DialogueThreads.open({
    count,
    startThread: () => startThread(entry, { name: DIALOGUES, grants }),
    start,
    config,
    endpoints,
    clients: config.serveIn.maxConnections,
    claims,
    startData: () => ({ nameParts }),
    answer: async (question) => await checks.greylist?.ask(question as GreylistSender),
    logger,
  });
}

interface Reloadable {
  readonly log: Log;
  readonly delivery: MaildirDelivery;
  readonly dialogues: Dialogues;
  readonly checks: Checks;
  readonly certificates: Certificates | undefined;
  readonly live: { config: Config };
}

/** Sets up reloads of serve-in. */
function reload(
  start: ServerStart,
  { log, delivery, dialogues, checks, certificates, live }: Reloadable,
): () => void {
  return reloader({
    start,
    log,
    fixed: serveInFixed(start),
    before: async () => {
      await certificates?.reload();
      await dialogues.reopen();
    },
    apply: async (next) => {
      requireDomains(next);
      await applyToParts(next, { delivery, checks });
      await dialogues.apply(next);
      log.level = next.log.level;
      live.config = next;
      void delivery.makeMaildirs();
    },
  });
}
