/**
 * mailapp as a library: the SMTP engine of both servers for deliveries of your own, its client, and the two
 * deliveries that mailapp has, into Maildirs and into a queue on disk.
 *
 * It is not in a registry. A project of your own imports it from a checkout: by its path, or by the name of the example
 * with `{ "imports": { "@mailapp/mailapp": "../mailapp/mod.ts" } }` in its `deno.json`.
 *
 * @example An SMTP server with its own delivery, and a client that hands it a message
 * ```ts
 * import assert from "node:assert/strict";
 * import { type Delivery, reply, silentLogger, SmtpServer } from "@mailapp/mailapp";
 * import { ConnTransport, SmtpClient, systemClock } from "@mailapp/mailapp";
 *
 * const inbox: string[] = [];
 * const delivery: Delivery = {
 *   checkRecipient: ({ forwardPath }) =>
 *     forwardPath.text === "me@example.com"
 *       ? { accepted: true }
 *       : { accepted: false, reply: reply(550, "5.1.1", "No such mailbox here") },
 *   begin() {
 *     let text = "";
 *     const write = (chunk: Uint8Array) => void (text += new TextDecoder("latin1").decode(chunk));
 *     return { id: "m1", write, async commit() { inbox.push(text); }, async [Symbol.asyncDispose]() {} };
 *   },
 * };
 * const server = new SmtpServer({ hostname: "mx.example.com", logger: silentLogger, delivery });
 * const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const serving = server.serve(listener);
 *
 * const conn = await Deno.connect({ hostname: "127.0.0.1", port: (listener.addr as Deno.NetAddr).port });
 * const client = new SmtpClient(new ConnTransport(conn, { clock: systemClock }), {
 *   hostname: "client.example.org",
 *   clock: systemClock,
 *   timeouts: { command: 300_000, data: 180_000, dataEnd: 600_000 },
 * });
 * await client.greeting();
 * await client.hello();
 * const data = new TextEncoder().encode("Subject: hello\r\n\r\nHello.\r\n");
 * const { recipients: [outcome] } = await client.send({
 *   reversePath: "you@example.org",
 *   recipients: [{ address: "me@example.com" }],
 *   size: data.length,
 *   eightBit: false,
 *   smtputf8: false,
 *   async *chunks() { yield data; },
 * });
 * await client.quit();
 * assert.equal(outcome?.kind, "relayed");
 * assert.deepEqual(inbox, ["Subject: hello\r\n\r\nHello.\r\n"]);
 *
 * await server.shutdown({ grace: 1000 });
 * await serving;
 * ```
 *
 * @module
 */
export { type LogFields, type Logger, type LogLevel, type LogValue, silentLogger } from "./base/log.ts";

// The engine.
export { type Clock, systemClock, type Timer } from "./base/clock.ts";
export type { CommandLimits } from "./smtp/commands/command_context.ts";
export type { ConnectionLimits } from "./smtp/connection_options.ts";
export { ConnectionError, ConnTransport, type ConnTransportOptions } from "./net/conn_transport.ts";
export type { Authenticator, LoginOrigin, SaslExchange, SaslStep } from "./smtp/authenticator.ts";
export * from "./smtp/delivery.ts";
export * from "./smtp/envelope.ts";
export * from "./smtp/inspector.ts";
export type { HeaderEdit } from "./message/header_edits.ts";
export { type HeaderField, HeaderSection } from "./message/header_section.ts";
export type { SeenField, UnwantedField } from "./message/header_filter.ts";
export { IncomingMessage, type MessageFailure, type MessageLimits } from "./smtp/incoming_message.ts";
export { type EnhancedStatusCode, type Reply, reply, SmtpError } from "./smtp/reply.ts";
export {
  defaultLimits,
  type ServeOptions,
  type ServerLimits,
  type ShutdownOptions,
  SmtpServer,
  type SmtpServerOptions,
} from "./smtp/server.ts";
export type { ConnectionCaps, ConnectionCounts, ExceededCap } from "./smtp/connection_counts.ts";
export * from "./smtp/server_policy.ts";
export type { Hello, Session, Transaction } from "./smtp/session.ts";
export type { SocketAddress, TlsInfo } from "./net/transport.ts";
export { DeadlineError, type Transport, type UpgradeToTls } from "./net/transport.ts";

// Its other side.
export * from "./smtp/client.ts";
export type { ClientTimeouts, DialogueOptions } from "./smtp/client_dialogue.ts";
export type { Capabilities } from "./smtp/capabilities.ts";
export type { OutgoingMessage, OutgoingRecipient } from "./smtp/outgoing_message.ts";
export * from "./smtp/send_result.ts";
export type { RemoteReply } from "./smtp/reply_reader.ts";

// Mail into Maildirs.
export { MaildirDelivery, type MaildirDeliveryOptions } from "./maildir/delivery.ts";
export { Maildir, type MaildirOptions } from "./maildir/maildir.ts";
export { type MaildirFolder, MaildirMessage } from "./maildir/maildir_message.ts";
export * from "./maildir/mailboxes.ts";
export {
  createCounter,
  createNameParts,
  type NameParts,
  type UniqueName,
  UniqueNames,
  type UniqueNamesOptions,
} from "./maildir/unique_name.ts";
export { DirectorySyncer } from "./storage/directory_syncer.ts";
export type { FileSystem, OpenFile } from "./storage/file_system.ts";
export type { FreeRoom } from "./storage/free_space.ts";
export * from "./storage/shared_claims.ts";
export { type StagedMessage, StagingArea, type StagingOptions } from "./storage/staging.ts";

// Mail into the queue.
export { QueueDelivery, type QueueDeliveryOptions } from "./relay/delivery.ts";
export type { MessageSigner } from "./relay/message_signer.ts";
export * from "./relay/queue.ts";
export * from "./relay/queue_entry.ts";
export type { QueueFilter } from "./relay/queue_filter.ts";
export type { HostFailure } from "./relay/host_slot.ts";
export type { HostPause, SharedHosts, SharedHostsFollower } from "./relay/shared_hosts.ts";
export { Spool, type SpoolOptions } from "./relay/spool/spool.ts";
export type { Entered, FinishedMessage, IntakeShare } from "./relay/spool/intake_queue.ts";
export type { Domains } from "./relay/queue_recipients.ts";
export type { StorageFault } from "./storage/storage_error.ts";
