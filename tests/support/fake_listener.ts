/**
 * A server on a listener and connections that a test feeds, on a clock that it sets.
 *
 * @module
 */
import assert from "node:assert/strict";
import { bytesOf, textOf } from "./bytes.ts";
import { FakeClock, settle } from "./fake_clock.ts";
import { RecordingDelivery } from "./recording_delivery.ts";
import { RecordingLog } from "./recording_log.ts";
import { type ServerLimits, SmtpServer } from "../../smtp/server.ts";

/** The parts of a `Deno.Conn` that are used. */
export class FakeConn {
  readonly localAddr = { transport: "tcp", hostname: "192.0.2.1", port: 25 };
  readonly remoteAddr: Deno.NetAddr;
  heard = "";
  closed = false;
  readonly #input: (Uint8Array | null)[] = [];
  #wake: (() => void) | undefined;
  /** Whether the client takes nothing. */
  stalled = false;

  constructor(hostname: string) {
    this.remoteAddr = { transport: "tcp", hostname, port: 50_000 };
  }

  async read(buffer: Uint8Array): Promise<number | null> {
    while (this.#input.length === 0) {
      if (this.closed) throw new Deno.errors.BadResource("closed");
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    const chunk = this.#input.shift() ?? null;
    if (chunk === null) return null;
    buffer.set(chunk);
    return chunk.length;
  }

  async write(bytes: Uint8Array): Promise<number> {
    while (this.stalled) {
      if (this.closed) throw new Deno.errors.BadResource("closed");
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    this.heard += textOf(bytes);
    return bytes.length;
  }

  closeWrite(): Promise<void> {
    return Promise.resolve();
  }

  close(): void {
    assert.ok(!this.closed, "closed twice");
    this.closed = true;
    this.#wake?.();
  }

  say(text: string | null): void {
    this.#input.push(text === null ? null : bytesOf(text));
    this.#wake?.();
  }
}

/** A listener that a test feeds. */
export class FakeListener {
  readonly addr = { transport: "tcp", hostname: "192.0.2.1", port: 25 };
  readonly #queue: (FakeConn | Error)[] = [];
  #wake: (() => void) | undefined;
  accepts = 0;
  closed = false;

  async accept(): Promise<FakeConn> {
    this.accepts++;
    for (;;) {
      if (this.closed) throw new Deno.errors.BadResource("Listener has been closed");
      const next = this.#queue.shift();
      if (next instanceof Error) throw next;
      if (next) return next;
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  close(): void {
    this.closed = true;
    this.#wake?.();
  }

  /** What the next accept() gives. */
  offer(next: FakeConn | Error): void {
    this.#queue.push(next);
    this.#wake?.();
  }
}

/** A server on a listener of the test's. */
export class Served implements AsyncDisposable {
  readonly clock = new FakeClock();
  readonly log = new RecordingLog();
  readonly listener = new FakeListener();
  readonly server: SmtpServer;
  readonly serving: Promise<void>;
  readonly #conns: FakeConn[] = [];

  constructor(limits: Partial<ServerLimits> = {}, { implicitTls = false } = {}) {
    this.server = new SmtpServer({
      hostname: "mx.here.example",
      delivery: new RecordingDelivery(),
      logger: this.log,
      clock: this.clock,
      limits,
    });
    this.serving = this.server.serve(this.listener as unknown as Deno.Listener, { implicitTls });
  }

  async connect(address: string): Promise<FakeConn> {
    const conn = new FakeConn(address);
    this.#conns.push(conn);
    this.listener.offer(conn);
    await settle();
    return conn;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const shutdown = this.server.shutdown({ grace: 0 });
    await this.clock.advance(1000);
    await shutdown;
    await this.serving;
    for (const conn of this.#conns) assert.ok(conn.closed, "a connection was left open");
    assert.equal(this.clock.pending, 0, "a timer was left running");
    assert.equal(this.server.connectionCount, 0);
  }
}

/** What a client hears that is served. */
export const GREETED = /^220 mx\.here\.example ESMTP mailapp\r\n$/;

/** What a client hears that is served until a shutdown. */
export const GREETED_AND_SENT_HOME = /^220 .*\r\n421 4.3.2 .*\r\n$/;
