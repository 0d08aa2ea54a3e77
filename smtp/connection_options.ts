/**
 * What one connection of a server is given.
 *
 * @module
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { UpgradeToTls } from "../net/transport.ts";
import type { Authenticator } from "./authenticator.ts";
import type { CommandContext, CommandLimits } from "./commands/command_context.ts";
import type { Delivery } from "./delivery.ts";
import type { ServerPolicy } from "./server_policy.ts";

/** Limits on one connection. Times in milliseconds. */
export interface ConnectionLimits extends CommandLimits {
  /** From the moment a command is waited for until it is there. */
  readonly idleTimeout: number;
  /** An older session is ended between two transactions; the data of a message may take that long again. */
  readonly sessionTimeout: number;
  /** For the TLS handshake. */
  readonly handshakeTimeout: number;
  /** How long a client may be silent in mid-data once a bare CR or LF has refused its message. */
  readonly bareLineEndingTimeout: number;
  /** Octets a second that mail data must bring on average, once the idle timeout has passed. */
  readonly minDataRate: number;
  /** Commands in error; the next one gets 421. */
  readonly maxErrors: number;
  /** Refused recipients in a session; the next one gets 421. */
  readonly maxRefusedRecipients: number;
  /**
   * Refusals of every kind in a session, of messages too; the next one gets 421. At least ten times `maxRecipients`
   * are allowed: a program may name all its recipients at once.
   */
  readonly maxRefusals: number;
  /** The longest command line in octets, CRLF included. RFC 5321 §4.5.3.1.4 asks for 512 at least. */
  readonly maxCommandLine: number;
}

/** What a connection needs. */
export interface ConnectionOptions {
  /** This server's name. */
  readonly hostname: string;
  /** What happens to messages. */
  readonly delivery: Delivery;
  /** How clients are treated. */
  readonly policy: ServerPolicy;
  /** Who looks at messages; see {@linkcode CommandContext.inspecting}. */
  readonly inspecting?: CommandContext["inspecting"];
  /** What one connection may take. */
  readonly limits: ConnectionLimits;
  /** Measures the deadlines. */
  readonly clock: Clock;
  /** Adds the session's id to each event. */
  readonly logger: Logger;
  /** Does the handshake; absent where there is no certificate. */
  readonly upgradeToTls?: UpgradeToTls | undefined;
  /** Checks logins, without which no mail is taken. */
  readonly authenticator?: Authenticator | undefined;
  /** TLS comes first, before the greeting (RFC 8314). */
  readonly implicitTls: boolean;
  /** Joins the log lines of this connection. */
  readonly sessionId: string;
}
