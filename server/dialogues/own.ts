/**
 * The dialogues of serve-in in one thread: its SMTP server and its listeners.
 *
 * @module
 */
import type { Logger } from "../../base/log.ts";
import { systemClock } from "../../base/clock.ts";
import type { Config } from "../../config/config.ts";
import type { DnsServer } from "../../dns/wire_client.ts";
import { MaildirDelivery } from "../../maildir/delivery.ts";
import type { NameParts } from "../../maildir/unique_name.ts";
import type { bind } from "../../net/listen.ts";
import type { GreylistPort } from "../../checks/greylist.ts";
import type { ConnectionCounts } from "../../smtp/connection_counts.ts";
import { type ServerLimits, SmtpServer } from "../../smtp/server.ts";
import { finalDeliveryPolicy, type ServerPolicy } from "../../smtp/server_policy.ts";
import type { SharedClaims } from "../../storage/shared_claims.ts";
import { StagingArea } from "../../storage/staging.ts";
import type { Certificates } from "../../tls/certificates.ts";
import { serverUpgrade } from "../../tls/server_upgrade.ts";
import { Checks } from "../check_parts.ts";
import { type Endpoint, Listeners } from "../listeners.ts";
import { incomingDirectory, openMailboxes } from "../parts.ts";
import { shutdownFor, type StopReason } from "../signals.ts";

/** How long messages in flight may take after SIGTERM, in milliseconds. */
const GRACE = 30_000;

/** The dialogues of a running server, in its own thread or in others. */
export interface Dialogues {
  /** Connections at this moment. */
  readonly connections: number;
  /** Listens here from now on. */
  follow(endpoints: readonly Endpoint[]): void;
  /** SIGHUP came: threads open their logs and certificates again, as this one has done. */
  reopen(): Promise<void>;
  /**
   * Applies another configuration. Of serve-in, the mailboxes and checks of this thread have been changed already; of
   * serve-out, the keys of DKIM.
   */
  apply(next: Config): Promise<void>;
  /** Adds what other threads have counted to the metrics; absent where there are none. */
  refreshFigures?(): Promise<void>;
  /** Ends each connection after its message in flight; resolves when all are closed. */
  shutdown(reason: StopReason, end: DialoguesEnd): Promise<void>;
}

/** How dialogues end. */
export interface DialoguesEnd {
  /** Ends the grace period once it is aborted. */
  readonly forced: AbortSignal;
  /** New connections are accepted until it resolves, within the grace period; absent: none are. */
  readonly accepting?: Promise<unknown> | undefined;
}

/** What several threads that serve have in common; absent where there is one. */
export interface Common {
  /** For unique names. */
  readonly nameParts: NameParts;
  /** The room that all of them have claimed. */
  readonly claims: SharedClaims;
  /** The part of the bounds of the process that is this thread's, above 0 to 1. */
  readonly share: number;
}

/** What becomes of messages. */
export function openDelivery(
  config: Config,
  { logger, common }: { readonly logger: Logger; readonly common?: Common | undefined },
): MaildirDelivery {
  return new MaildirDelivery({
    mailboxes: openMailboxes(config),
    // By prepareServeIn(), with the permissions that it takes.
    rootIsDurable: true,
    hostname: config.hostname,
    staging: new StagingArea({ directory: incomingDirectory(config) }),
    minFreeSpace: config.serveIn.minFreeSpace,
    junkFolder: config.mailboxes.junkFolder,
    logger,
    ...common,
  });
}

/** The checks of messages for these mailboxes. */
export async function openChecks(
  config: Config,
  { delivery, ...options }: {
    readonly delivery: MaildirDelivery;
    readonly dnsServers: readonly DnsServer[];
    readonly logger: Logger;
    readonly greylist?: GreylistPort;
  },
): Promise<Checks> {
  return await Checks.open(config, {
    ...options,
    clock: systemClock,
    domains: () => delivery.mailboxes.domains,
  });
}

/** Changes mailboxes and checks as another configuration says. If it throws, nothing has changed. */
export async function applyToParts(
  next: Config,
  { delivery, checks }: { readonly delivery: MaildirDelivery; readonly checks: Checks },
): Promise<void> {
  const mailboxes = openMailboxes(next);
  await checks.change(next);
  delivery.mailboxes = mailboxes;
  delivery.minFreeSpace = next.serveIn.minFreeSpace;
  delivery.junkFolder = next.mailboxes.junkFolder;
}

/** What dialogues share with those of other threads, where there are any. */
export interface SharedOptions {
  /** The part of the bounds of the process that is this thread's; 1 if absent. */
  readonly share?: number;
  /** Counts connections; absent: those of this thread count. */
  readonly counts?: ConnectionCounts;
  /** Binds ports; absent: for this thread alone. */
  readonly bind?: typeof bind;
}

/** What {@linkcode OwnDialogues} needs. */
export interface OwnDialoguesOptions extends SharedOptions {
  readonly delivery: MaildirDelivery;
  readonly checks: Checks;
  readonly certificates: Certificates | undefined;
  readonly logger: Logger;
  /** Logs the listeners; default: `logger`. */
  readonly listenerLogger?: Logger;
}

/** The dialogues of this thread. */
export class OwnDialogues implements Dialogues {
  readonly #options: OwnDialoguesOptions;
  readonly #server: SmtpServer;
  readonly #listeners: Listeners;

  /** Listens nowhere until {@linkcode OwnDialogues.open} or {@linkcode OwnDialogues.follow}. */
  constructor(config: Config, options: OwnDialoguesOptions) {
    const { delivery, checks, certificates, logger, listenerLogger = logger, share, counts, bind } = options;
    this.#options = options;
    const server = this.#server = new SmtpServer({
      hostname: config.hostname,
      policy: policyWith(checks, config),
      delivery,
      logger,
      ...(checks.inspector && { inspector: checks.inspector }),
      ...(certificates !== undefined && { upgradeToTls: serverUpgrade({ certificates }) }),
      limits: serverLimits(config),
      ...(share !== undefined && { share }),
      ...(counts && { counts }),
    });
    this.#listeners = new Listeners({
      logger: listenerLogger,
      mayWait: true,
      serve: (listener, { tls }) => server.serve(listener, { implicitTls: tls === "implicit" }),
      ...(bind && { bind }),
    });
  }

  get connections(): number {
    return this.#server.connectionCount;
  }

  /**
   * Listens for the first time.
   * @throws as {@linkcode Listeners.open}
   */
  open(endpoints: readonly Endpoint[]): void {
    this.#listeners.open(endpoints);
  }

  follow(endpoints: readonly Endpoint[]): void {
    this.#listeners.follow(endpoints);
  }

  reopen(): Promise<void> {
    return Promise.resolve();
  }

  apply(next: Config): Promise<void> {
    const { checks } = this.#options;
    this.#server.inspector = checks.inspector;
    this.#server.policy = policyWith(checks, next);
    this.#server.limits = serverLimits(next);
    return Promise.resolve();
  }

  async shutdown(reason: StopReason, { forced }: DialoguesEnd): Promise<void> {
    this.#listeners.stopRetrying();
    await this.#server.shutdown(shutdownFor(reason, { grace: GRACE, forced }));
    await this.#listeners.closed();
  }
}

function policyWith({ inspector }: Checks, { hostname }: Config): ServerPolicy {
  return finalDeliveryPolicy({ hostname, marksJunk: inspector !== undefined });
}

function serverLimits({ serveIn }: Config): Partial<ServerLimits> {
  const { maxMessageSize, maxRecipients, maxConnections, maxConnectionsPerIp, idleTimeoutMs } = serveIn;
  return { maxMessageSize, maxRecipients, maxConnections, maxConnectionsPerIp, idleTimeout: idleTimeoutMs };
}
