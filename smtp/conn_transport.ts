/**
 * A transport over a TCP connection of Deno.
 *
 * Deadlines cost no timer per read: each connection has one timer, which looks when it fires whether the deadline
 * has moved on meanwhile and then sleeps again.
 *
 * @module
 */
import type { Clock, Timer } from "./clock.ts";
import type { SocketAddress } from "./session.ts";
import { DeadlineError, type Transport } from "./transport.ts";

/** What a connection needs besides its socket. */
export interface ConnTransportOptions {
  /** Measures the deadline. */
  readonly clock: Clock;
}

/** The connection broke: reset by the peer, the network gone, or closed on our side. */
export class ConnectionError extends Error {
  /** The system's name of the failure, such as `ECONNRESET`; `CLOSED` when this side had closed it. */
  readonly code: string;

  /** Makes the error; the cause is what the system reported. */
  constructor(message: string, options: { readonly code: string; readonly cause?: unknown }) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "ConnectionError";
    this.code = options.code;
  }
}

/** A {@linkcode Transport} over a `Deno.Conn`, which it owns from now on. */
export class ConnTransport implements Transport {
  /** The other end. */
  readonly remote: SocketAddress;
  /** This end. */
  readonly local: SocketAddress;
  readonly #conn: Deno.Conn;
  readonly #clock: Clock;
  #deadline = Infinity;
  #timer: Timer | undefined;
  /** When the timer fires. */
  #wake = Infinity;
  /** Whether the deadline has moved on since the timer was set. */
  #moved = false;
  #closed = false;
  #expired = false;

  /** Takes the connection over. There is no deadline until one is set. */
  constructor(conn: Deno.Conn, { clock }: ConnTransportOptions) {
    this.#conn = conn;
    this.#clock = clock;
    this.remote = socketAddress(conn.remoteAddr);
    this.local = socketAddress(conn.localAddr);
    if ("setNoDelay" in conn) {
      try {
        // A reply must not wait for the acknowledgement of the one before it.
        (conn as Deno.TcpConn).setNoDelay(true);
      } catch {
        // The peer is gone already; the first read says so.
      }
    }
  }

  /** When reads and writes must be over: in the clock's monotonic milliseconds; `Infinity` for never. */
  get deadline(): number {
    return this.#deadline;
  }

  set deadline(deadline: number) {
    if (this.#closed) return;
    this.#deadline = deadline;
    if (deadline < this.#wake) this.#sleep(deadline - this.#clock.monotonic());
    else this.#moved = true;
  }

  /**
   * Reads what is there, at least one byte; `null` at the end of the stream.
   * @throws {DeadlineError} when the deadline passes; the connection is closed then
   * @throws {ConnectionError} when the connection breaks
   */
  async read(buffer: Uint8Array): Promise<number | null> {
    try {
      return await this.#conn.read(buffer);
    } catch (error) {
      throw this.#explain(error);
    }
  }

  /**
   * Writes all of it, waiting for the peer to take it.
   * @throws {DeadlineError} when the deadline passes; the connection is closed then
   * @throws {ConnectionError} when the connection breaks
   */
  async write(data: Uint8Array): Promise<void> {
    try {
      let written = await this.#conn.write(data);
      while (written < data.length) written += await this.#conn.write(data.subarray(written));
    } catch (error) {
      throw this.#explain(error);
    }
  }

  /** Ends the connection at once: what is pending fails. Safe to call twice. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#conn.close();
  }

  #sleep(milliseconds: number): void {
    this.#timer?.cancel();
    const wait = Math.max(milliseconds, 0);
    this.#moved = false;
    this.#wake = this.#clock.monotonic() + wait;
    this.#timer = this.#clock.after(wait, () => this.#awake());
  }

  #awake(): void {
    this.#timer = undefined;
    this.#wake = Infinity;
    if (this.#moved) {
      if (this.#deadline === Infinity) return;
      const left = this.#deadline - this.#clock.monotonic();
      if (left > 0) return this.#sleep(left);
    }
    this.#expired = true;
    this.close();
  }

  #explain(error: unknown): Error {
    if (this.#expired) return new DeadlineError();
    if (this.#closed) return new ConnectionError("connection closed", { code: "CLOSED", cause: error });
    const code = (error as { code?: unknown } | null)?.code;
    const name = error instanceof Error ? error.name : "Error";
    return new ConnectionError(
      `connection broken: ${error instanceof Error ? error.message : String(error)}`,
      {
        code: typeof code === "string" ? code : CODES[name] ?? name,
        cause: error,
      },
    );
  }
}

// Deno names some failures by class only.
const CODES: Readonly<Record<string, string>> = {
  ConnectionReset: "ECONNRESET",
  ConnectionAborted: "ECONNABORTED",
  BrokenPipe: "EPIPE",
  TimedOut: "ETIMEDOUT",
  NotConnected: "ENOTCONN",
};

function socketAddress(address: Deno.Addr): SocketAddress {
  if (!("hostname" in address)) throw new TypeError("not a TCP connection");
  return { address: withoutMapping(address.hostname), port: address.port };
}

/** Shows an IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2), as a dual-stack listener reports it, as the IPv4 one. */
export function withoutMapping(address: string): string {
  const match = /^::ffff:(?:(\d{1,3}(?:\.\d{1,3}){3})|([0-9a-f]{1,4}):([0-9a-f]{1,4}))$/i.exec(address);
  if (!match) return address;
  const [, dotted, high, low] = match;
  if (dotted !== undefined) return dotted;
  const [a, b] = [parseInt(high ?? "", 16), parseInt(low ?? "", 16)];
  return [a >> 8, a & 255, b >> 8, b & 255].join(".");
}
