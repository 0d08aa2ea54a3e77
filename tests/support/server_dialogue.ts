/**
 * A client's dialogue with an {@linkcode SmtpServer}, over memory and on a clock of the test.
 *
 * @module
 */
import assert from "node:assert/strict";
import { bytesOf, textOf } from "./bytes.ts";
import { FakeClock } from "./fake_clock.ts";
import { MemoryTransport } from "./memory_transport.ts";
import { RecordingDelivery } from "./recording_delivery.ts";
import { RecordingLog } from "./recording_log.ts";
import type { Delivery, PendingMessage, TopForecast } from "../../smtp/delivery.ts";
import type { Inspector } from "../../smtp/inspector.ts";
import { type ServerLimits, SmtpServer } from "../../smtp/server.ts";
import type { ServerPolicy } from "../../smtp/server_policy.ts";
import type { UpgradeToTls } from "../../net/transport.ts";

/** What differs from a server with default settings. */
export interface Options {
  readonly limits?: Partial<ServerLimits>;
  readonly policy?: Partial<ServerPolicy>;
  /** Changes what the delivery does with a message. */
  readonly wrap?: (pending: PendingMessage, forecast?: TopForecast) => PendingMessage;
  readonly inspector?: Inspector;
  readonly upgradeToTls?: UpgradeToTls;
  readonly implicitTls?: boolean;
  /** The client's; one of the Internet if absent. */
  readonly remoteAddress?: string;
}

/** A dialogue under way. */
export class Dialogue implements AsyncDisposable {
  readonly clock = new FakeClock();
  readonly log = new RecordingLog();
  readonly transport: MemoryTransport;
  readonly delivery: RecordingDelivery;
  readonly server: SmtpServer;
  readonly done: Promise<void>;

  constructor(
    { limits = {}, policy = {}, wrap, inspector, upgradeToTls, implicitTls = false, remoteAddress }: Options =
      {},
  ) {
    this.transport = new MemoryTransport({ clock: this.clock, ...(remoteAddress && { remoteAddress }) });
    const recording = new RecordingDelivery();
    this.delivery = recording;
    const wrapped: Delivery = {
      checkSender: (envelope) => recording.checkSender(envelope),
      checkRecipient: (recipient) => recording.checkRecipient(recipient),
      begin: (envelope, { forecast }) =>
        wrap ? wrap(recording.begin(envelope), forecast) : recording.begin(envelope),
    };
    this.server = new SmtpServer({
      hostname: "mx.here.example",
      delivery: wrapped,
      policy,
      logger: this.log,
      clock: this.clock,
      limits,
      ...(upgradeToTls ? { upgradeToTls } : {}),
      ...(inspector ? { inspector } : {}),
    });
    this.done = this.server.handle(this.transport, { implicitTls });
  }

  /** Sends, and gives back what the server says to it. */
  async say(text: string, sizes: readonly number[] = []): Promise<string> {
    this.transport.send(bytesOf(text), sizes);
    await this.transport.waiting();
    return this.heard();
  }

  heard(): string {
    return textOf(this.transport.take());
  }

  /** From the greeting to 354. */
  async toData(recipient = "alice"): Promise<void> {
    const replies = await this.say(
      "EHLO client.test\r\nMAIL FROM:<a@client.test>\r\n" +
        `RCPT TO:<${recipient}@here.example>\r\nDATA\r\n`,
    );
    assert.match(replies, /\r\n354 /);
  }

  get reason(): unknown {
    const [event, ...more] = this.log.named("session.closed");
    assert.deepEqual(more, []);
    return event?.fields["reason"];
  }

  /** The client goes away; nothing may be left. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.transport.flow();
    this.transport.end();
    await this.done;
    assert.ok(this.transport.closed, "the transport is closed");
    assert.equal(this.delivery.open, 0, "no message is left open");
    assert.equal(this.clock.pending, 0, "no timer is left");
    assert.equal(this.server.connectionCount, 0);
  }
}
