/**
 * mailapp as a library: the SMTP engine of both servers, for deliveries of your own.
 *
 * @module
 */
export { type LogFields, type Logger, type LogLevel, type LogValue, silentLogger } from "./observe/log.ts";
export { type Clock, systemClock, type Timer } from "./smtp/clock.ts";
export type { CommandLimits } from "./smtp/commands/command_context.ts";
export type { ConnectionLimits } from "./smtp/connection.ts";
export * from "./smtp/delivery.ts";
export * from "./smtp/envelope.ts";
export type { UnwantedField } from "./smtp/header_filter.ts";
export { IncomingMessage, type MessageFailure, type MessageLimits } from "./smtp/incoming_message.ts";
export { type EnhancedStatusCode, type Reply, reply, SmtpError } from "./smtp/reply.ts";
export {
  defaultLimits,
  type ServeOptions,
  type ServerLimits,
  SmtpServer,
  type SmtpServerOptions,
} from "./smtp/server.ts";
export type { Session, SocketAddress, TlsInfo, Transaction } from "./smtp/session.ts";
export { DeadlineError, type Transport, type UpgradeToTls } from "./smtp/transport.ts";
