/**
 * Connecting to other servers: to IP addresses only, since the name has been resolved and must not be resolved again.
 *
 * @module
 */
import { isIP, Socket } from "node:net";
import type { Clock } from "../base/clock.ts";
import { ConnectionError, ConnTransport } from "./conn_transport.ts";
import type { SocketAddress } from "./transport.ts";
import { DeadlineError, type Transport } from "./transport.ts";
import { Watchdog } from "../base/watchdog.ts";
import type { FamilyHealth } from "./family_health.ts";
import { errorText } from "../base/error_text.ts";

/**
 * Connects to an IP address, never to a name, within a bounded time and until the signal aborts.
 * @throws {DeadlineError} after that time
 * @throws {ConnectionError} when the connection is refused, cannot be made, or is given up
 */
export type Dial = (to: SocketAddress, options?: { readonly signal?: AbortSignal }) => Promise<Transport>;

/** What a dialler depends on. */
export interface DialOptions {
  /** Measures the wait. */
  readonly clock: Clock;
  /** The longest wait for a connection, in milliseconds. */
  readonly timeout: number;
  /** The address to connect from, for IPv4 targets. */
  readonly sourceIpv4?: string;
  /** The address to connect from, for IPv6 targets. */
  readonly sourceIpv6?: string;
  /** Learns whether the families work. */
  readonly health?: FamilyHealth;
}

/** Makes a dialler over TCP. */
export function createDial(options: DialOptions): Dial {
  return async (to, { signal } = {}) => {
    const family = isIP(to.address);
    if (family === 0) throw new ConnectionError("not an IP address", { code: "EINVAL" });
    const source = family === 6 ? options.sourceIpv6 : options.sourceIpv4;
    const wait = { ...options, signal };
    return await watch(
      family === 6 ? 6 : 4,
      options,
      () => source === undefined ? dial(to, wait) : dialFrom(source, to, wait),
    );
  };
}

// Milliseconds within which nearly every working connection is established.
const PROMPT = 2_000;

/** Failures that concern the whole address family, not only this connection. */
const FAMILY_FAULTS: ReadonlySet<string> = new Set(["ENETUNREACH", "EHOSTUNREACH", "EADDRNOTAVAIL"]);

/** Lets the family's health learn from how connecting goes. */
async function watch(
  family: 4 | 6,
  { health, clock }: DialOptions,
  connect: () => Promise<Transport>,
): Promise<Transport> {
  // Other connections should learn of it before this wait ends.
  const timer = health && clock.after(PROMPT, () => health.failed(family));
  try {
    const transport = await connect();
    health?.worked(family);
    return transport;
  } catch (error) {
    const code = error instanceof ConnectionError ? error.code : "";
    if (code === "ECONNREFUSED" || code === "ECONNRESET") health?.worked(family);
    if (FAMILY_FAULTS.has(code) || error instanceof DeadlineError) health?.failed(family);
    throw error;
  } finally {
    timer?.cancel();
  }
}

type Wait = Pick<DialOptions, "clock" | "timeout"> & { readonly signal: AbortSignal | undefined };

async function dial(to: SocketAddress, wait: Wait): Promise<Transport> {
  const { clock } = wait;
  const [over, done] = abortAfter(wait);
  try {
    const conn = await Deno.connect({ hostname: to.address, port: to.port, signal: over });
    return new ConnTransport(conn, { clock });
  } catch (error) {
    throw over.aborted ? over.reason : explain(error);
  } finally {
    done();
  }
}

// `Deno.connect` cannot choose the source address; node:net can.
async function dialFrom(source: string, to: SocketAddress, wait: Wait): Promise<Transport> {
  const socket = new Socket();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  // Awaited below, unless nothing waits.
  promise.catch(() => {});
  const [over, done] = abortAfter(wait);
  over.addEventListener("abort", () => reject(over.reason));
  socket.once("error", (error) => reject(explain(error)));
  socket.connect({ host: to.address, port: to.port, localAddress: source, noDelay: true }, resolve);
  try {
    over.throwIfAborted();
    await promise;
    return new SocketTransport(socket, wait.clock);
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    done();
  }
}

/** A signal that aborts after the time or with the other signal; its reason is the error to throw. */
function abortAfter({ clock, timeout, signal }: Wait): [over: AbortSignal, done: () => void] {
  const over = new AbortController();
  const timer = clock.after(timeout, () => over.abort(new DeadlineError("no connection in time")));
  const giveUp = () => over.abort(new ConnectionError("given up", { code: "CLOSED" }));
  signal?.addEventListener("abort", giveUp, { once: true });
  if (signal?.aborted) giveUp();
  return [over.signal, () => {
    timer.cancel();
    signal?.removeEventListener("abort", giveUp);
  }];
}

/** A {@linkcode Transport} over a connected socket of node:net. */
class SocketTransport implements Transport {
  readonly remote: SocketAddress;
  readonly local: SocketAddress;
  readonly #socket: Socket;
  readonly #watchdog: Watchdog;
  #rest: Uint8Array | undefined;
  #ended = false;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(socket: Socket, clock: Clock) {
    this.#socket = socket;
    this.remote = { address: socket.remoteAddress ?? "", port: socket.remotePort ?? 0 };
    this.local = { address: socket.localAddress ?? "", port: socket.localPort ?? 0 };
    this.#watchdog = new Watchdog(clock, () => this.#end(new DeadlineError()));
    const wake = () => this.#wake?.();
    socket.on("readable", wake);
    socket.on("end", () => {
      this.#ended = true;
      wake();
    });
    socket.on("error", (error) => this.#end(explain(error)));
    socket.on("close", () => this.#end(new ConnectionError("connection closed", { code: "CLOSED" })));
  }

  get deadline(): number {
    return this.#watchdog.deadline;
  }

  set deadline(deadline: number) {
    if (this.#failure === undefined) this.#watchdog.deadline = deadline;
  }

  async read(buffer: Uint8Array): Promise<number | null> {
    for (;;) {
      this.#rest ??= this.#socket.read() as Uint8Array | null ?? undefined;
      if (this.#rest !== undefined) {
        const size = Math.min(buffer.length, this.#rest.length);
        buffer.set(this.#rest.subarray(0, size));
        this.#rest = size < this.#rest.length ? this.#rest.subarray(size) : undefined;
        return size;
      }
      if (this.#ended) return null;
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  async write(data: Uint8Array): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    await new Promise<void>((resolve, reject) => {
      const closed = () =>
        reject(this.#failure ?? new ConnectionError("connection closed", { code: "CLOSED" }));
      this.#socket.once("close", closed);
      this.#socket.write(data, (error) => {
        this.#socket.removeListener("close", closed);
        if (error) reject(this.#failure ?? explain(error));
        else resolve();
      });
    });
  }

  close(): void {
    this.#end(new ConnectionError("connection closed", { code: "CLOSED" }));
  }

  #end(failure: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = failure;
    this.#watchdog.cancel();
    this.#socket.destroy();
    this.#wake?.();
  }
}

const WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection reset",
  EHOSTUNREACH: "host unreachable",
  ENETUNREACH: "network unreachable",
  ETIMEDOUT: "connection timed out",
};

function explain(error: unknown): ConnectionError {
  const code = (error as { code?: unknown } | null)?.code;
  const name = typeof code === "string" ? code : "UNKNOWN";
  if ((error as { syscall?: unknown } | null)?.syscall === "bind") {
    // Deno reports it as EINVAL.
    if (name === "EINVAL" || name === "EADDRNOTAVAIL") {
      const text = "no interface of this machine has the source address that is configured";
      return new ConnectionError(text, { code: "EADDRNOTAVAIL", cause: error });
    }
    const text = "cannot send from the source address that is configured";
    return new ConnectionError(text, { code: name, cause: error });
  }
  const text = errorText(error);
  return new ConnectionError(WORDS[name] ?? text, { code: name, cause: error });
}
