/**
 * The server of `mailapp serve-in`, as it runs in its thread.
 *
 * @module
 */
import { MaildirDelivery } from "../maildir/delivery.ts";
import type { Log } from "../observe/logger.ts";
import { systemClock } from "../base/clock.ts";
import type { Config } from "../config/config.ts";
import { type ServerLimits, SmtpServer } from "../smtp/server.ts";
import { finalDeliveryPolicy, type ServerPolicy } from "../smtp/server_policy.ts";
import { StagingArea } from "../storage/staging.ts";
import type { Certificates } from "../tls/certificates.ts";
import { serverUpgrade } from "../tls/server_upgrade.ts";
import { serveInEndpoints } from "./addresses.ts";
import { Checks } from "./check_parts.ts";
import { EXIT, type ExitCode } from "./exit_codes.ts";
import { shutdownFor } from "./signals.ts";
import { serveInFixed } from "./fixed_settings.ts";
import { Listeners } from "./listeners.ts";
import { incomingDirectory, missingCertificateWarnings, openMailboxes, requireDomains } from "./parts.ts";
import { reloader } from "./reload.ts";
import type { ServerContext, ServerStart } from "./server_start.ts";
import { watchServeIn } from "./problem_parts.ts";
import { openCertificates } from "./certificate_parts.ts";
import { openLog } from "./log_parts.ts";
import { openMetrics } from "./metrics_parts.ts";
import { VERSION } from "./version.ts";

/** How long messages in flight may take after SIGTERM, in milliseconds. */
const GRACE = 30_000;
const CLEAN_INTERVAL = 6 * 3600 * 1000;

/** Serves until it is stopped; returns the exit code. */
export async function runServeIn(
  start: ServerStart,
  { signals, onAddresses }: ServerContext,
): Promise<ExitCode> {
  const { config } = start;
  const mailboxes = openMailboxes(config);
  await using log = openLog(config, start);
  const { logger } = log;
  using certificates = await openCertificates(config, logger);
  const warnings = [
    ...config.warnings,
    ...(certificates === undefined ? missingCertificateWarnings(config) : []),
  ];
  for (const warning of warnings) logger.warn("config.warning", { warning });

  const delivery = new MaildirDelivery({
    mailboxes,
    hostname: config.hostname,
    staging: new StagingArea({ directory: incomingDirectory(config) }),
    minFreeSpace: config.serveIn.minFreeSpace,
    junkFolder: config.mailboxes.junkFolder,
    logger,
  });
  await using checks = await Checks.open(config, {
    dnsServers: start.dnsServers,
    clock: systemClock,
    logger,
    domains: () => delivery.mailboxes.domains,
  });
  const server = new SmtpServer({
    hostname: config.hostname,
    policy: policyWith(checks, config),
    delivery,
    logger,
    ...(checks.inspector && { inspector: checks.inspector }),
    ...(certificates !== undefined && { upgradeToTls: serverUpgrade({ certificates }) }),
    limits: serverLimits(config),
  });
  const listeners = new Listeners({
    logger,
    mayWait: true,
    serve: (listener, { tls }) => server.serve(listener, { implicitTls: tls === "implicit" }),
  });
  const hasCertificate = certificates !== undefined;
  listeners.open(serveInEndpoints(config, { hasCertificate, addresses: start.addresses }));
  onAddresses((addresses) => listeners.follow(serveInEndpoints(config, { hasCertificate, addresses })));
  await using _metrics = await openMetrics(config, { server: "serve-in", logger });
  logger.info("server.ready", {
    server: "serve-in",
    hostname: config.hostname,
    version: VERSION,
    pid: Deno.pid,
  });
  const live = { config };
  signals.onReload(reload(start, { delivery, server, checks, log, certificates, live }));
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
  logger.info("server.stopping", { signal, connections: server.connectionCount });
  stopping.abort();
  clearInterval(cleaning);
  listeners.stopRetrying();
  await server.shutdown(shutdownFor(signal, { grace: GRACE, forced: signals.forced }));
  await Promise.all([listeners.closed(), firstCleaning]);
  logger.info("server.stopped");
  return EXIT.ok;
}

interface Reloadable {
  readonly log: Log;
  readonly delivery: MaildirDelivery;
  readonly server: SmtpServer;
  readonly checks: Checks;
  readonly certificates: Certificates | undefined;
  readonly live: { config: Config };
}

/** Sets up reloads of serve-in. */
function reload(
  start: ServerStart,
  { log, delivery, server, checks, certificates, live }: Reloadable,
): () => void {
  return reloader({
    start,
    log,
    fixed: serveInFixed(start),
    before: () => Promise.resolve(certificates?.reload()),
    apply: async (next) => {
      requireDomains(next);
      const mailboxes = openMailboxes(next);
      await checks.change(next);
      server.inspector = checks.inspector;
      server.policy = policyWith(checks, next);
      delivery.mailboxes = mailboxes;
      delivery.minFreeSpace = next.serveIn.minFreeSpace;
      delivery.junkFolder = next.mailboxes.junkFolder;
      server.limits = serverLimits(next);
      log.level = next.log.level;
      live.config = next;
      void delivery.makeMaildirs();
    },
  });
}

function policyWith({ inspector }: Checks, { hostname }: Config): ServerPolicy {
  return finalDeliveryPolicy({ hostname, marksJunk: inspector !== undefined });
}

function serverLimits({ serveIn }: Config): Partial<ServerLimits> {
  const { maxMessageSize, maxRecipients, maxConnections, maxConnectionsPerIp, idleTimeoutMs } = serveIn;
  return { maxMessageSize, maxRecipients, maxConnections, maxConnectionsPerIp, idleTimeout: idleTimeoutMs };
}
