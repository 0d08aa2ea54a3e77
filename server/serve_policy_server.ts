/**
 * The server of `mailapp serve-policy`, as it runs in its thread.
 *
 * @module
 */
import { PolicyServer } from "../mta_sts/policy_server.ts";
import { serverUpgrade } from "../tls/server_upgrade.ts";
import { servePolicyEndpoints } from "./addresses.ts";
import { EXIT, type ExitCode } from "./exit_codes.ts";
import { servePolicyFixed } from "./fixed_settings.ts";
import { Listeners } from "./listeners.ts";
import { openMetrics } from "./metrics_parts.ts";
import { policyTexts, requirePolicy, uncoveredHosts } from "./policy_parts.ts";
import { reloader } from "./reload.ts";
import { openCertificates, readCertificate } from "./certificate_parts.ts";
import { openLog } from "./log_parts.ts";
import type { ServerContext, ServerStart } from "./server_start.ts";
import { VERSION } from "./version.ts";

/** Serves until it is stopped; returns the exit code. */
export async function runServePolicy(
  start: ServerStart,
  { signals, onAddresses }: ServerContext,
): Promise<ExitCode> {
  const { config } = start;
  await using log = openLog(config, start);
  const { logger } = log;
  using certificates = await openCertificates(config, logger);
  if (certificates === undefined) throw new TypeError("there is no certificate");
  const leaf = (await readCertificate(config))?.leaf;
  const warnings = [...config.warnings, ...(leaf === undefined ? [] : uncoveredHosts(config, leaf))];
  for (const warning of warnings) logger.warn("config.warning", { warning });
  const server = new PolicyServer({
    upgradeToTls: serverUpgrade({ certificates }),
    policies: policyTexts(config),
    logger,
  });
  const listeners = new Listeners({
    logger,
    mayWait: true,
    serve: (listener) => server.serve(listener),
  });
  listeners.open(servePolicyEndpoints(config, start));
  onAddresses((addresses) => listeners.follow(servePolicyEndpoints(config, { addresses })));
  await using _metrics = await openMetrics(config, { server: "serve-policy", logger });
  const { hostname } = config;
  logger.info("server.ready", { server: "serve-policy", hostname, version: VERSION, pid: Deno.pid });
  signals.onReload(reloader({
    start,
    log,
    fixed: servePolicyFixed(),
    before: () => certificates.reload(),
    apply: (next) => {
      requirePolicy(next);
      server.policies = policyTexts(next);
      log.level = next.log.level;
    },
  }));

  const signal = await signals.stopped;
  logger.info("server.stopping", { signal, connections: server.connectionCount });
  listeners.stopRetrying();
  await server.shutdown(signals);
  await listeners.closed();
  logger.info("server.stopped");
  return EXIT.ok;
}
