/**
 * A transport over a TCP connection of Deno.
 *
 * @module
 */
import type { Clock } from "../base/clock.ts";
import type { SocketAddress } from "./transport.ts";
import { DeadlineError, type Transport } from "./transport.ts";
import { Turns } from "../base/turns.ts";
import { Watchdog } from "../base/watchdog.ts";
import { errorText } from "../base/error_text.ts";

/** What a connection needs besides its socket. */
export interface ConnTransportOptions {
  /** Measures the deadline. */
  readonly clock: Clock;
}

// A system call with its overhead costs as much time as this many octets of mail data.
const COST_OF_A_CALL = 16 * 1024;

/** The connection broke: reset by the peer, the network gone, or closed on our side. */
export class ConnectionError extends Error {
  /** The system's name of the failure, such as `ECONNRESET`; `CLOSED` when this side had closed it. */
  readonly code: string;

  /** The cause is what the system reported. */
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
  readonly #watchdog: Watchdog;
  readonly #turns: Turns;
  #closed = false;
  #expired = false;

  /** Takes ownership of the connection. There is no deadline until one is set. */
  constructor(conn: Deno.Conn, { clock }: ConnTransportOptions) {
    this.#conn = conn;
    this.#turns = new Turns(clock);
    this.#watchdog = new Watchdog(clock, () => {
      this.#expired = true;
      this.close();
    });
    this.remote = socketAddress(conn.remoteAddr);
    this.local = socketAddress(conn.localAddr);
    if ("setNoDelay" in conn) {
      try {
        // A reply must not wait for the acknowledgement of the one before it.
        (conn as Deno.TcpConn).setNoDelay(true);
      } catch {
        // The peer is already gone; the first read reports it.
      }
    }
  }

  /** When reads and writes must be over: in the clock's monotonic milliseconds; `Infinity` for never. */
  get deadline(): number {
    return this.#watchdog.deadline;
  }

  set deadline(deadline: number) {
    if (!this.#closed) this.#watchdog.deadline = deadline;
  }

  /**
   * Reads what is there, at least one byte; `null` at the end of the stream.
   * @throws {DeadlineError} when the deadline passes; the connection is closed then
   * @throws {ConnectionError} when the connection breaks
   */
  read(buffer: Uint8Array): Promise<number | null> {
    return this.#conn.read(buffer).then(this.#spend, this.#fail);
  }

  /**
   * Writes all of it, waiting for the peer to take it.
   * @throws {DeadlineError} when the deadline passes; the connection is closed then
   * @throws {ConnectionError} when the connection breaks
   */
  write(data: Uint8Array): Promise<void> {
    return this.#conn.write(data).then(
      (written) =>
        written < data.length
          ? this.write(data.subarray(written))
          : this.#turns.spend(COST_OF_A_CALL + written),
      this.#fail,
    );
  }

  /** Says that nothing more will be written (FIN); what the peer sends can still be read. */
  closeWrite(): Promise<void> {
    return this.#conn.closeWrite().catch(this.#fail);
  }

  /** Ends the connection at once: what is pending fails. Safe to call twice. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watchdog.cancel();
    this.#turns[Symbol.dispose]();
    this.#conn.close();
  }

  // Called after each read and write: made once, which saves an async function per call.
  readonly #spend = (octets: number | null): number | null | Promise<number | null> => {
    const others = this.#turns.spend(COST_OF_A_CALL + (octets ?? 0));
    return others ? others.then(() => octets) : octets;
  };

  readonly #fail = (error: unknown): never => {
    throw this.#explain(error);
  };

  #explain(error: unknown): Error {
    if (this.#expired) return new DeadlineError();
    if (this.#closed) return new ConnectionError("connection closed", { code: "CLOSED", cause: error });
    const code = (error as { code?: unknown } | null)?.code;
    const name = error instanceof Error ? error.name : "Error";
    return new ConnectionError(
      `connection broken: ${errorText(error)}`,
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
