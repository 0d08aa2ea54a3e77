/**
 * The engine on real sockets, inside the test's process.
 *
 * @module
 */
import assert from "node:assert/strict";
import { type ServerLimits, SmtpServer } from "../../smtp/server.ts";
import type { UpgradeToTls } from "../../net/transport.ts";
import { FakeClock } from "./fake_clock.ts";
import { RecordingDelivery } from "./recording_delivery.ts";
import { RecordingLog } from "./recording_log.ts";
import { WireClient } from "./wire_client.ts";

/** What a test may choose. */
export interface ServedOptions {
  /** What differs from the server's defaults. */
  readonly limits?: Partial<ServerLimits>;
  /** Does handshakes; without it there is no TLS. */
  readonly upgradeToTls?: UpgradeToTls;
}

/** A server listening on loopback: plain, and with TLS first. Its clock stands still until the test moves it. */
export class Served implements AsyncDisposable {
  /** The server's clock. */
  readonly clock = new FakeClock();
  /** The server's log. */
  readonly log = new RecordingLog();
  /** What the server stores. */
  readonly delivery = new RecordingDelivery();
  /** The server itself. */
  readonly server: SmtpServer;
  readonly #listeners: Deno.TcpListener[] = [];
  readonly #serving: Promise<void>[] = [];
  readonly #clients: WireClient[] = [];

  /** Listens at once. */
  constructor({ limits = {}, upgradeToTls }: ServedOptions = {}) {
    this.server = new SmtpServer({
      hostname: "mx.here.example",
      delivery: this.delivery,
      logger: this.log,
      clock: this.clock,
      limits,
      ...(upgradeToTls ? { upgradeToTls } : {}),
    });
  }

  /** A port of this address that serves. */
  port({ hostname = "127.0.0.1", implicitTls = false } = {}): number {
    const listener = Deno.listen({ hostname, port: 0 });
    this.#listeners.push(listener);
    this.#serving.push(this.server.serve(listener, { implicitTls }));
    return listener.addr.port;
  }

  /** A client of that port, which is closed at the end. */
  async connect(port: number, hostname?: string): Promise<WireClient> {
    const client = await WireClient.connect(port, hostname);
    this.#clients.push(client);
    return client;
  }

  /** Closes everything, and looks whether anything was left. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client.close();
    const shutdown = this.server.shutdown({ grace: 0 });
    await this.clock.advance(60_000);
    await shutdown;
    await Promise.all(this.#serving);
    assert.equal(this.delivery.open, 0, "a message was left open");
    assert.equal(this.clock.pending, 0, "a timer was left running");
  }
}
