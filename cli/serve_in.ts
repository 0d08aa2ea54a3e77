/**
 * `mailapp serve-in`: takes mail from the Internet into Maildirs.
 *
 * @module
 */
import { join } from "@std/path";
import type { Command } from "commander";
import type { Config } from "../config/config.ts";
import { ConfigError } from "../config/errors.ts";
import { loadConfig } from "../config/load.ts";
import { MaildirDelivery } from "../maildir/delivery.ts";
import type { Log } from "../observe/logger.ts";
import { SmtpServer } from "../smtp/server.ts";
import { StagingArea } from "../storage/staging.ts";
import type { Certificates } from "../tls/certificates.ts";
import { serverUpgrade } from "../tls/server_upgrade.ts";
import { EXIT, type ExitCode } from "./exit_codes.ts";
import type { Io } from "./io.ts";
import { openListeners } from "./listeners.ts";
import {
  missingCertificateWarnings,
  openCertificates,
  openLog,
  openMailboxes,
  prepareDataDir,
  serveInEndpoints,
} from "./parts.ts";
import { watchSignals } from "./signals.ts";
import { configOption, examples, type Registrar } from "./subcommand.ts";
import { VERSION } from "./version.ts";

/** How long messages in flight may take after SIGTERM, in milliseconds. */
const GRACE = 30_000;
const CLEAN_INTERVAL = 6 * 3600 * 1000;

/** Enters the command. */
export function registerServeIn(program: Command, { io, action }: Registrar): void {
  program.command("serve-in")
    .description("take mail from the Internet into Maildirs, until SIGTERM")
    .addOption(configOption())
    .addHelpText("after", examples("mailapp serve-in --config /etc/mailapp/config.toml"))
    .action(action((options: { config?: string }) => serveIn(options, io)));
}

async function serveIn(options: { readonly config?: string }, io: Io): Promise<ExitCode> {
  const signals = watchSignals(io);
  const config = await loadConfig(options.config, { env: io.env });
  requireDomains(config);
  // Messages are for the service user and its group, which the mail readers are in; for nobody else.
  Deno.umask(0o007);
  const mailboxes = openMailboxes(config);
  await prepareDataDir(config);
  await using log = openLog(config, io);
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
    staging: new StagingArea({ directory: join(config.dataDir, "incoming") }),
    minFreeSpace: config.serveIn.minFreeSpace,
    log: logger,
  });
  const { maxMessageSize, maxRecipients, maxConnections, maxConnectionsPerIp, idleTimeoutMs } =
    config.serveIn;
  const server = new SmtpServer({
    hostname: config.hostname,
    delivery,
    log: logger,
    ...(certificates !== undefined && { upgradeToTls: serverUpgrade({ certificates }) }),
    limits: {
      maxMessageSize,
      maxRecipients,
      maxConnections,
      maxConnectionsPerIp,
      idleTimeout: idleTimeoutMs,
    },
  });
  const endpoints = serveInEndpoints(config, { hasCertificate: certificates !== undefined });
  const listeners = openListeners(endpoints, {
    log: logger,
    serve: (listener, { tls }) => server.serve(listener, { implicitTls: tls === "implicit" }),
  });
  logger.info("server.ready", {
    server: "serve-in",
    hostname: config.hostname,
    version: VERSION,
    pid: Deno.pid,
  });
  const load = () => loadConfig(options.config, { env: io.env });
  signals.onReload(reloader({ config, delivery, log, certificates, load }));
  const cleaning = setInterval(() => delivery.cleanTmp(), CLEAN_INTERVAL);
  const firstCleaning = delivery.cleanTmp();

  const signal = await signals.stopped;
  logger.info("server.stopping", { signal, connections: server.connectionCount });
  clearInterval(cleaning);
  listeners.stopRetrying();
  await server.shutdown({ grace: GRACE });
  await Promise.all([listeners.closed, firstCleaning]);
  logger.info("server.stopped");
  return EXIT.ok;
}

function requireDomains({ file, serveIn }: Config): void {
  if (serveIn.domains.length > 0) return;
  const problem = 'must name at least one domain that serve-in takes mail for, such as ["example.com"]';
  throw new ConfigError(file, [{ key: "serve-in.domains", problem }]);
}

interface Reloadable {
  readonly config: Config;
  readonly delivery: MaildirDelivery;
  readonly log: Log;
  readonly certificates: Certificates | undefined;
  readonly load: () => Promise<Config>;
}

/** What SIGHUP does: one after the other, and never worse than before. */
function reloader({ config, delivery, log, certificates, load }: Reloadable): () => void {
  const { logger } = log;
  const reload = async () => {
    await log.reopen();
    await certificates?.reload();
    try {
      const next = await load();
      requireDomains(next);
      delivery.mailboxes = openMailboxes(next);
      logger.info("config.reloaded", { needs_restart: changedForGood(config, next) });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      logger.error("config.not_reloaded", { error: reason, action: "keeping the old one" });
    }
  };
  let last = Promise.resolve();
  return () => {
    last = last.then(reload);
  };
}

/** The tables that differ and are not read again. */
function changedForGood(before: Config, after: Config): string[] {
  const fixed = ({ hostname, dataDir, log, tls, serveIn: { domains: _, ...serveIn } }: Config) => ({
    hostname,
    data_dir: dataDir,
    log,
    tls,
    "serve-in": serveIn,
  });
  const now = Object.entries(fixed(after));
  return now.filter(([key, value]) =>
    JSON.stringify(value) !==
      JSON.stringify(Object.entries(fixed(before)).find(([name]) => name === key)?.[1])
  ).map(([key]) => key);
}
