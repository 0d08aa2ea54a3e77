/**
 * The server of `mailapp serve-out`, as it runs in its thread.
 *
 * @module
 */
import { join } from "@std/path";
import type { DkimSigner } from "../dkim/sign.ts";
import type { Config } from "../config/config.ts";
import { notingResolver } from "../dns/noted_answers.ts";
import type { Resolver } from "../dns/resolver.ts";
import { RefusalWatch } from "../doctor/problem_checks.ts";
import type { Log } from "../observe/logger.ts";
import type { Logger } from "../base/log.ts";
import { ControlServer } from "../relay/control.ts";
import { CONTROL_SOCKET } from "../relay/control_socket.ts";
import { noticeComposer } from "../relay/dsn.ts";
import type { Policies } from "../mta_sts/policies.ts";
import { FamilyHealth } from "../net/family_health.ts";
import { findTargets, type Target } from "../relay/mx.ts";
import type { QueueSummary } from "../relay/queue.ts";
import { PeerMemory } from "../relay/peer_memory.ts";
import type { SessionOptions } from "../relay/ready_session.ts";
import { longestDelay } from "../relay/retry_schedule.ts";
import { Scheduler } from "../relay/scheduler.ts";
import type { SchedulerSettings } from "../relay/scheduler_options.ts";
import { HostConnection } from "../relay/transmit.ts";
import { systemClock } from "../base/clock.ts";
import { errorText } from "../base/error_text.ts";
import { loadDkimKeys, openDkimSigner, replaceDkimKeys, signedNotices } from "./dkim_parts.ts";
import { serveOutEndpoints } from "./addresses.ts";
import { intakeThreads } from "./dialogues/count.ts";
import { type Intake, OwnIntake } from "./dialogues/intake.ts";
import type { Dialogues } from "./dialogues/own.ts";
import { EXIT, type ExitCode } from "./exit_codes.ts";
import { serveOutFixed } from "./fixed_settings.ts";
import type { Endpoint } from "./listeners.ts";
import { openPolicies } from "./mta_sts_parts.ts";
import {
  destinations,
  openResolver,
  type OwnTargets,
  ownTargets,
  retrySchedule,
  sessionOptions,
  targetOptions,
  undeliverableLimits,
} from "./relay_parts.ts";
import { type MachineDomain, machineDomain, rootMailWarnings } from "./machine_names.ts";
import { reloader } from "./reload.ts";
import type { ServerContext, ServerStart } from "./server_start.ts";
import { openMaildrop } from "./maildrop_parts.ts";
import { openLog } from "./log_parts.ts";
import { settingsName } from "./settings_name.ts";
import { LAST_REPLIES } from "./signals.ts";
import { openServerQueue, type ServerQueue } from "./queue_parts.ts";
import { untilUnlocked } from "./spool_parts.ts";
import { causeOfOurs, watchServeOut } from "./problem_parts.ts";
import { openMetrics, queueMetrics, sharedQueueMetrics } from "./metrics_parts.ts";
import { TlsReports } from "./tls_report_parts.ts";
import { VERSION } from "./version.ts";

/** How long messages in flight may take after SIGTERM, in milliseconds. */
const GRACE = 30_000;
const RECHECK_AFTER = 30_000;

/** Serves until it is stopped; returns the exit code. */
export async function runServeOut(start: ServerStart, context: ServerContext): Promise<ExitCode> {
  const { config } = start;
  const { signals, network, trusted, entry } = context;
  const count = intakeThreads(config);
  const dkimKeys = await loadDkimKeys(config);
  await using log = openLog(config, { ...start, wholeLines: count > 1 });
  const { logger } = log;
  for (const warning of [...config.warnings, ...rootMailWarnings(config)]) {
    logger.warn("config.warning", { warning });
  }
  const signer = openDkimSigner(dkimKeys, { logger });
  const live: Live = {
    config,
    resolver: openResolver(config, logger),
    machineDomain: machineDomain(config, start.systemHostname),
  };
  await using queue = await untilUnlocked(() =>
    openServerQueue(config, {
      logger,
      boot: start.boot,
      current: () => live.config,
      intakeThreads: count === 1 ? 0 : count,
    })
  );
  const refusals = new RefusalWatch({ explain: causeOfOurs, now: () => systemClock.monotonic() });
  const policies = await openPolicies({ live, logger });
  await using _policies = { [Symbol.asyncDispose]: () => policies.stop() };
  await using reports = await TlsReports.open({ live, policies, logger });
  const world: World = {
    logger,
    refusals,
    network,
    ...(trusted && { trusted }),
    health: new FamilyHealth(systemClock),
    peers: new PeerMemory(systemClock),
    policies,
    onTls: (target, verdict) => reports.note(target, verdict),
  };
  const scheduler = await createScheduler(live, { queue, signer, world });
  reports.start({ queue, scheduler, signer });
  await using _control = await openControl(live, { queue, scheduler, logger });
  const endpoints = serveOutEndpoints({ serveOut: { ...config.serveOut, ...start.ports } }, start);
  const dialogues = await openDialogues(start, { count, entry, endpoints, queue, scheduler, signer, logger });
  signals.onReload(reload(start, { log, signer, scheduler, dialogues, live, world }));
  await using _metrics = await openMetrics(config, {
    server: "serve-out",
    logger,
    refresh: async () => await dialogues.refreshFigures?.(),
  });
  using _queue = queueMetrics(scheduler);
  await using _all = config.metrics.serveOut && queue.counts &&
    sharedQueueMetrics(() => queue.counts?.() ?? Promise.reject(new Error("not shared")), {
      clock: systemClock,
    });
  logger.info("server.ready", {
    server: "serve-out",
    hostname: config.hostname,
    version: VERSION,
    pid: Deno.pid,
    ...(count > 1 && { threads: count }),
  });
  const scanned = scheduler.start().catch((error) => {
    logger.error("queue.error", { what: "the scan at the start", error: String(error) });
  });
  await using maildrop = await openMaildrop({
    live,
    listening: () => dialogues.listening,
    logger,
  });
  await using _watch = await watchServeOut(live, {
    queue,
    scheduler,
    scanned,
    signer,
    refusals,
    network,
    clock: systemClock,
    logger,
  });

  const signal = await signals.stopped;
  logger.info("server.stopping", { signal, connections: dialogues.connections });
  await maildrop[Symbol.asyncDispose]();
  const { forced } = signals;
  // Programs do not retry if the port is closed: mail is taken as long as something is still being sent.
  const sent = scheduler.stop(GRACE, { signal: forced, lastRepliesMs: LAST_REPLIES });
  await Promise.all([dialogues.shutdown(signal, { forced, accepting: sent }), sent]);
  await scanned;
  logger.info("server.stopped");
  return EXIT.ok;
}

interface Parts {
  readonly queue: ServerQueue;
  readonly scheduler: Scheduler;
  readonly logger: Logger;
  readonly signer: DkimSigner;
}

/** The settings in use; a reload replaces them. */
interface Live {
  config: Config;
  resolver: Resolver;
  machineDomain: MachineDomain;
}

/** State that outlives a reload. */
interface World extends Pick<ServerContext, "network" | "trusted"> {
  readonly logger: Logger;
  readonly health: FamilyHealth;
  readonly peers: PeerMemory;
  readonly refusals: RefusalWatch;
  readonly policies: Policies;
  readonly onTls: NonNullable<SessionOptions["onTls"]>;
}

async function createScheduler(
  live: Live,
  { queue, signer, world }: Pick<Parts, "queue" | "signer"> & { readonly world: World },
): Promise<Scheduler> {
  const { hostname } = live.config;
  return new Scheduler({
    queue,
    clock: systemClock,
    random: Math.random,
    logger: world.logger,
    ...await schedulerSettings(live, world),
    onRefusal: (refusal) => world.refusals.note(refusal),
    compose: signedNotices(
      noticeComposer({
        queue,
        hostname,
        get expireAfter() {
          return live.config.serveOut.expireAfterMs;
        },
        localDomain: (domain) => live.machineDomain(domain),
      }),
      signer,
    ),
  });
}

/** @throws {ConfigError} when a password cannot be read */
async function schedulerSettings({ config, resolver }: Live, world: World): Promise<SchedulerSettings> {
  const { logger, network } = world;
  const targets = await targetOptions(config, { ...world, resolver });
  const own = remembered<OwnTargets>((last) => ownTargets(config, { logger, network, last }));
  const session = sessionOptions(config, { ...world, resolver });
  return {
    schedule: retrySchedule(config),
    undeliverable: undeliverableLimits(config),
    maxConnectionsPerHost: config.serveOut.maxConnectionsPerHost,
    destinationOf: destinations(config),
    route: (domain, options) =>
      findTargets(domain, {
        ...targets,
        ...own(),
        ...options,
        resolver: notingResolver(resolver, options.noted),
      }),
    connect: (target, options) => {
      const onLine = (side: "C" | "S", line: string, { host, address }: Target) =>
        logger.trace("dialogue", { host, address, line: `${side}: ${line}` });
      return HostConnection.open(target, {
        ...session,
        ...options,
        ...(logger.enabled("trace") && { onLine }),
      });
    },
  };
}

/** Caches what is read of the machine's network for half a minute. */
function remembered<T>(look: (last: T | undefined) => T): () => T {
  let value = look(undefined);
  let until = systemClock.monotonic() + RECHECK_AFTER;
  return () => {
    if (systemClock.monotonic() < until) return value;
    value = look(value);
    until = systemClock.monotonic() + RECHECK_AFTER;
    return value;
  };
}

/** The server works without it; only `queue` and `explain` cannot reach it. */
async function openControl(
  live: Live,
  { queue, scheduler, logger }: Omit<Parts, "signer">,
): Promise<AsyncDisposable> {
  const operator = queue.operator({
    entries: scheduler.entries,
    clock: systemClock,
    logger,
    change: (opened) => scheduler.change(opened),
    clearHostBackoff: () => scheduler.clearHostBackoff(),
    mayBeHalfDone: (entry) => scheduler.mayBeHalfDone(entry),
    longestWait: () => longestDelay(retrySchedule(live.config)),
  });
  const path = join(live.config.dataDir, CONTROL_SOCKET);
  try {
    const settings = () => settingsName(live.config);
    const listen = () =>
      ControlServer.listen({ path, operator, scheduler, settings, clock: systemClock, logger });
    // It is needed to clear a full disk.
    return await queue.withRoom(() => Promise.try(listen));
  } catch (error) {
    logger.error("control.failed", { path, error: errorText(error) });
    return { [Symbol.asyncDispose]: () => Promise.resolve() };
  }
}

/** Opens the dialogues in this thread, or in threads of their own. */
async function openDialogues(
  start: ServerStart,
  { count, entry, endpoints, queue, scheduler, signer, logger }: Parts & {
    readonly count: number;
    readonly entry: string;
    readonly endpoints: readonly Endpoint[];
  },
): Promise<Intake> {
  const accepted = (summary: QueueSummary) => scheduler.submit(summary);
  const { spool } = queue;
  if (count > 1 && spool !== undefined) {
    const { openIntakeThreads } = await import("./dialogues/intake_threads.ts");
    return await openIntakeThreads(start, { count, entry, endpoints, spool, accepted, logger });
  }
  const { config, systemHostname } = start;
  const { directory } = queue;
  const dialogues = new OwnIntake(config, {
    ...{ queue, directory, accepted, systemHostname, signer, logger },
    probe: () => queue.probe(),
  });
  dialogues.open(endpoints);
  return dialogues;
}

interface Reloadable {
  readonly log: Log;
  readonly signer: DkimSigner;
  readonly scheduler: Scheduler;
  readonly dialogues: Dialogues;
  readonly live: Live;
  readonly world: World;
}

/** Sets up reloads of serve-out. */
function reload(
  start: ServerStart,
  { log, signer, scheduler, dialogues, live, world }: Reloadable,
): () => void {
  const { logger } = log;
  return reloader({
    start,
    log,
    fixed: serveOutFixed(start),
    before: () => dialogues.reopen(),
    apply: async (config) => {
      const { dns } = live.config;
      const same = JSON.stringify(dns) === JSON.stringify(config.dns);
      const next = {
        config,
        resolver: same ? live.resolver : openResolver(config, logger),
        machineDomain: machineDomain(config, start.systemHostname),
      };
      const settings = await schedulerSettings(next, world);
      const keys = await loadDkimKeys(config);
      Object.assign(live, next);
      scheduler.reconfigure(settings);
      replaceDkimKeys(signer, { keys, logger });
      await dialogues.apply(config);
      log.level = config.log.level;
    },
  });
}
