/**
 * The dialogues of serve-out in one thread: its SMTP server and its listeners.
 *
 * @module
 */
import type { Logger } from "../../base/log.ts";
import type { Config } from "../../config/config.ts";
import type { DkimSigner } from "../../dkim/sign.ts";
import type { SocketAddress } from "../../net/transport.ts";
import { QueueDelivery, type QueueDeliveryOptions } from "../../relay/delivery.ts";
import { MAX_ENTRY_RECIPIENTS } from "../../relay/queue_entry.ts";
import { type ServerLimits, SmtpServer } from "../../smtp/server.ts";
import { localSubmissionPolicy, uidOfClient } from "../../smtp/server_policy.ts";
import type { SharedClaims } from "../../storage/shared_claims.ts";
import { type Endpoint, Listeners } from "../listeners.ts";
import { type MachineDomain, machineDomain } from "../machine_names.ts";
import type { StopReason } from "../signals.ts";
import type { Dialogues, DialoguesEnd, SharedOptions } from "./own.ts";

/** How long messages in flight may take after SIGTERM, in milliseconds. */
const GRACE = 30_000;

/** The dialogues of serve-out. */
export interface Intake extends Dialogues {
  /** Where they listen; the first of several. */
  readonly listening: SocketAddress | undefined;
}

/** What {@linkcode OwnIntake} needs. */
export interface OwnIntakeOptions
  extends SharedOptions, Pick<QueueDeliveryOptions, "queue" | "directory" | "accepted"> {
  /** Tries whether anything can be stored; rejects if not. */
  readonly probe: () => Promise<void>;
  /** The host's own name. */
  readonly systemHostname: string;
  readonly signer: DkimSigner;
  readonly logger: Logger;
  /** Logs the listeners, and what is wrong with the limits; default: `logger`. */
  readonly commonLogger?: Logger;
  /** The room that all threads have claimed; absent: there is one. */
  readonly claims?: SharedClaims;
}

/** The dialogues of this thread. */
export class OwnIntake implements Intake {
  readonly #options: OwnIntakeOptions;
  readonly #server: SmtpServer;
  readonly #listeners: Listeners;
  #config: Config;
  #machineDomain: MachineDomain;
  #listening: SocketAddress | undefined;

  /** Listens nowhere until {@linkcode OwnIntake.open}. */
  constructor(config: Config, options: OwnIntakeOptions) {
    const { logger, commonLogger = logger, systemHostname, share, counts, bind } = options;
    this.#options = options;
    this.#config = config;
    this.#machineDomain = machineDomain(config, systemHostname);
    const server = this.#server = new SmtpServer({
      hostname: config.hostname,
      policy: {
        ...localSubmissionPolicy,
        localAccount: (session) => {
          const uid = uidOfClient(session);
          return uid === undefined ? undefined : { uid, isShown: this.#config.serveOut.showAccount };
        },
      },
      delivery: this.#delivery(),
      logger,
      limits: serverLimits(config, commonLogger),
      ...(share !== undefined && { share }),
      ...(counts && { counts }),
    });
    this.#listeners = new Listeners({
      logger: commonLogger,
      serve: (listener) => {
        const { hostname: address, port } = listener.addr as Deno.NetAddr;
        this.#listening ??= { address, port };
        return server.serve(listener);
      },
      ...(bind && { bind }),
    });
  }

  get connections(): number {
    return this.#server.connectionCount;
  }

  get listening(): SocketAddress | undefined {
    return this.#listening;
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
    const { logger, commonLogger = logger, systemHostname } = this.#options;
    this.#config = next;
    this.#machineDomain = machineDomain(next, systemHostname);
    this.#server.limits = serverLimits(next, commonLogger);
    return Promise.resolve();
  }

  async shutdown(_reason: StopReason, { forced, accepting }: DialoguesEnd): Promise<void> {
    await this.#server.shutdown({ grace: GRACE, forced, ...(accepting && { accepting }) });
    this.#listeners.stopRetrying();
    await this.#listeners.closed();
  }

  #delivery(): QueueDelivery {
    const { queue, directory, probe, accepted, signer, logger, claims } = this.#options;
    const serveOut = () => this.#config.serveOut;
    return new QueueDelivery({
      queue,
      directory,
      probe,
      accepted,
      hostname: this.#config.hostname,
      get qualifyDomain() {
        return serveOut().qualifyDomain;
      },
      localDomain: (domain) => this.#machineDomain(domain),
      get minFreeSpace() {
        return serveOut().minFreeSpace;
      },
      logger,
      sign: (id, section) => signer.begin(id, section),
      ...(claims && { claims }),
    });
  }
}

function serverLimits({ serveOut }: Config, logger: Logger): Partial<ServerLimits> {
  const { maxMessageSize, maxConnections, idleTimeoutMs } = serveOut;
  const maxRecipients = Math.min(serveOut.maxRecipients, MAX_ENTRY_RECIPIENTS);
  if (maxRecipients < serveOut.maxRecipients) {
    const warning =
      `serve-out.max_recipients = ${serveOut.maxRecipients}: a message in the queue has at most ` +
      `${maxRecipients} recipients, and clients have to send to the others in another one`;
    logger.warn("config.warning", { warning });
  }
  return {
    maxMessageSize,
    maxRecipients,
    maxConnections,
    // All clients have the same address (loopback).
    maxConnectionsPerIp: maxConnections,
    idleTimeout: idleTimeoutMs,
  };
}
