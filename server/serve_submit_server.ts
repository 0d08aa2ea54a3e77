/**
 * The server of `mailapp serve-submit`, as it runs in its thread.
 *
 * @module
 */
import { systemClock } from "../base/clock.ts";
import type { Config } from "../config/config.ts";
import type { Log } from "../observe/logger.ts";
import { type ServerLimits, SmtpServer } from "../smtp/server.ts";
import { submissionPolicy } from "../smtp/server_policy.ts";
import { AuthorInspector } from "../submit/author_inspector.ts";
import { SubmissionDelivery } from "../submit/delivery.ts";
import type { LoginLimits } from "../submit/login_limits.ts";
import type { Certificates } from "../tls/certificates.ts";
import { serverUpgrade } from "../tls/server_upgrade.ts";
import { serveSubmitEndpoints } from "./addresses.ts";
import { EXIT, type ExitCode } from "./exit_codes.ts";
import { shutdownFor } from "./signals.ts";
import { serveSubmitFixed } from "./fixed_settings.ts";
import { Listeners } from "./listeners.ts";
import { openAuthenticator } from "./login_parts.ts";
import { openMetrics } from "./metrics_parts.ts";
import { reloader } from "./reload.ts";
import { requireSubmission } from "./parts.ts";
import { openCertificates } from "./certificate_parts.ts";
import { openLog } from "./log_parts.ts";
import type { ServerContext, ServerStart } from "./server_start.ts";
import { openLimits, openSenders, openUpstream, sendingLimits, watchServeSubmit } from "./submit_parts.ts";
import { VERSION } from "./version.ts";

/** How long messages in flight may take after SIGTERM, in milliseconds. */
const GRACE = 30_000;

/** Serves until it is stopped; returns the exit code. */
export async function runServeSubmit(
  start: ServerStart,
  { signals, onAddresses, entry }: ServerContext,
): Promise<ExitCode> {
  const { config } = start;
  const senders = openSenders(config);
  await using log = openLog(config, start);
  const { logger } = log;
  using certificates = await openCertificates(config, logger);
  if (certificates === undefined) throw new TypeError("there is no certificate");
  for (const warning of config.warnings) logger.warn("config.warning", { warning });
  using logins = await openAuthenticator(config, { logger, entry });
  await using kept = await openLimits(config, logger);
  const { limits } = kept;
  using upstream = openUpstream(config);
  const delivery = new SubmissionDelivery({ upstream, senders, limits });
  const server = new SmtpServer({
    hostname: config.hostname,
    policy: submissionPolicy({ namesClient: config.serveSubmit?.showClientAddress ?? false }),
    delivery,
    logger,
    inspector: new AuthorInspector(() => delivery.senders),
    authenticator: logins.authenticator,
    upgradeToTls: serverUpgrade({ certificates }),
    limits: serverLimits(config),
  });
  const listeners = new Listeners({
    logger,
    mayWait: true,
    serve: (listener, { tls }) => server.serve(listener, { implicitTls: tls === "implicit" }),
  });
  listeners.open(serveSubmitEndpoints(config, start));
  onAddresses((addresses) => listeners.follow(serveSubmitEndpoints(config, { addresses })));
  await using _metrics = await openMetrics(config, { server: "serve-submit", logger });
  logger.info("server.ready", {
    server: "serve-submit",
    hostname: config.hostname,
    version: VERSION,
    pid: Deno.pid,
  });
  const live = { config };
  signals.onReload(reload(start, { delivery, server, log, certificates, limits, live }));
  await using _watch = await watchServeSubmit(live, { certificates, limits, clock: systemClock, logger });

  const signal = await signals.stopped;
  logger.info("server.stopping", { signal, connections: server.connectionCount });
  listeners.stopRetrying();
  // A serve-out that does not answer delays the shutdown no longer than a client may.
  signals.forced.addEventListener("abort", () => upstream.abort());
  const ending = shutdownFor(signal, { grace: GRACE, forced: signals.forced });
  const late = setTimeout(() => upstream.abort(), GRACE + (ending.lateGrace ?? 0));
  await server.shutdown(ending);
  clearTimeout(late);
  await listeners.closed();
  logger.info("server.stopped");
  return EXIT.ok;
}

interface Reloadable {
  readonly log: Log;
  readonly delivery: SubmissionDelivery;
  readonly server: SmtpServer;
  readonly certificates: Certificates;
  readonly limits: LoginLimits;
  readonly live: { config: Config };
}

/** Sets up reloads of serve-submit. */
function reload(
  start: ServerStart,
  { log, delivery, server, certificates, limits, live }: Reloadable,
): () => void {
  return reloader({
    start,
    log,
    fixed: serveSubmitFixed(start.grants),
    before: () => certificates.reload(),
    apply: (next) => {
      requireSubmission(next);
      delivery.senders = openSenders(next);
      limits.limits = sendingLimits(next);
      server.limits = serverLimits(next);
      log.level = next.log.level;
      live.config = next;
    },
  });
}

/** Octets for Received and what serve-out adds: they must not make a message that we took too large for serve-out. */
const ADDED = 4096;

function serverLimits({ serveSubmit, serveOut }: Config): Partial<ServerLimits> {
  if (serveSubmit === undefined) return {};
  const { maxMessageSize, maxRecipients, maxConnections, maxConnectionsPerIp, idleTimeoutMs } = serveSubmit;
  return {
    maxMessageSize: Math.max(1, Math.min(maxMessageSize, serveOut.maxMessageSize - ADDED)),
    maxRecipients: Math.min(maxRecipients, serveOut.maxRecipients),
    maxConnections,
    maxConnectionsPerIp,
    idleTimeout: idleTimeoutMs,
  };
}
