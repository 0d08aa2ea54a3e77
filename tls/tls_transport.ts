/**
 * A transport inside another one: what both sides of TLS share.
 *
 * Deno's own TLS wants a `Deno.Conn`, and on the server side a listener; node:tls takes any stream. So the plain
 * transport is adapted to a stream, node:tls runs over it, and the result is adapted to a transport again. Deadlines
 * stay with the plain one: it closes, and everything above it fails with its error.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import { counters, histograms } from "../base/counters.ts";
import type { SocketAddress, TlsInfo } from "../net/transport.ts";
import type { Transport } from "../net/transport.ts";

const handshakes = counters("mailapp_tls_handshakes_total", {
  help: "TLS handshakes, by our side and by the version that they came to",
  labels: ["side", "result"],
});
const handshakeTime = histograms("mailapp_tls_handshake_seconds", {
  help: "How long successful TLS handshakes took",
  labels: ["side"],
});

/** TLS failed: in the handshake, by an alert, or because what came was not TLS. */
export class TlsError extends Error {
  /** The library's name of the failure, when it gave one. */
  readonly code: string | undefined;

  /** `cause` is what the library reported. */
  constructor(
    message: string,
    options: { readonly code?: string | undefined; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "TlsError";
    this.code = options.code;
  }
}

// Two TLS records and their overhead (RFC 8446 §5.2).
const BUFFER_SIZE = 33 * 1024;
// In the handshake, and while a connection says little.
const SMALL_BUFFER_SIZE = 2 * 1024;
// After the handshake, until a read fills it: idle connections are many, and each has one.
const FIRST_BUFFER_SIZE = 512;

/**
 * A plain transport as a stream, for node:tls to run over. Destroying it closes the transport.
 *
 * A class, and not a stream made of functions, since each connection has one.
 */
export class TransportStream extends Duplex {
  readonly #plain: Transport;
  #failure: Error | undefined;
  #isWanted = () => true;
  #parked = false;
  #least = SMALL_BUFFER_SIZE;
  #buffer = new Uint8Array(SMALL_BUFFER_SIZE);
  /** Octets of the last read. */
  #size = 0;

  /** Takes over the transport. */
  constructor(plain: Transport) {
    super({ highWaterMark: BUFFER_SIZE });
    this.#plain = plain;
    // The TLS socket on top tells; a stream without a listener would end the process.
    this.on("error", ignore);
  }

  /** Why the plain transport ended, if by failure: says more than the stream's own errors. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /**
   * After the handshake: reads from the plain transport only while `isWanted` holds, since node:tls takes whatever it
   * is given; and into a small buffer at first.
   */
  limit(isWanted: () => boolean): void {
    this.#isWanted = isWanted;
    this.#least = FIRST_BUFFER_SIZE;
  }

  /** Looks again whether more is wanted. */
  readOn(): void {
    if (!this.#parked || !this.#isWanted()) return;
    this.#parked = false;
    this.#fill();
  }

  /** @ignore See `node:stream`. */
  override _read(): void {
    this.#parked = !this.#isWanted();
    if (!this.#parked) this.#fill();
  }

  /** @ignore See `node:stream`. */
  override _write(chunk: Uint8Array, _encoding: string, done: (error?: Error) => void): void {
    this.#plain.write(chunk).then(() => done(), (error: Error) => {
      this.#failure ??= error;
      done(this.#failure);
    });
  }

  /** @ignore See `node:stream`. */
  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#plain.close();
    done(error);
  }

  #fill(): void {
    const isFull = this.#size === this.#buffer.length;
    if (isFull) this.#least = SMALL_BUFFER_SIZE;
    const wanted = isFull ? BUFFER_SIZE : this.#size < this.#least ? this.#least : this.#buffer.length;
    if (this.#buffer.length !== wanted) this.#buffer = new Uint8Array(wanted);
    this.#plain.read(this.#buffer).then(
      (size) => {
        this.#size = size ?? 0;
        this.push(size === null ? null : Buffer.from(this.#buffer.subarray(0, size)));
      },
      (error: Error) => {
        this.#failure ??= error;
        this.destroy(this.#failure);
      },
    );
  }
}

function ignore(): void {}

/** Waits for the handshake to succeed, by `event`, or to fail; then nothing is left open. */
export async function handshake(
  socket: TLSSocket,
  stream: TransportStream,
  event: "secure" | "secureConnect",
): Promise<void> {
  const side = event === "secure" ? "server" : "client";
  const since = performance.now();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let isOver = false;
  const fail = (error?: Error & { code?: string }) => {
    if (isOver) return;
    reject(
      stream.failure ??
        new TlsError(`TLS handshake failed: ${error?.message ?? "connection closed by the peer"}`, {
          code: error?.code,
          cause: error,
        }),
    );
  };
  const closed = () => fail();
  // The listeners stay: where one is removed, Node keeps those of the socket in a slow form that takes 800 octets.
  socket.on(event, resolve);
  // node:tls reports a failure before the handshake is over by the private event, and by nothing else.
  socket.on("_tlsError", fail);
  socket.on("error", fail);
  socket.on("close", closed);
  // In the handshake the peer's end is a failure; the socket keeps silent about it.
  stream.on("end", closed);
  try {
    await promise;
    handshakeTime.with(side).observe((performance.now() - since) / 1000);
    handshakes.with(side, socket.getProtocol() ?? "unknown").add();
  } catch (error) {
    handshakes.with(side, "failed").add();
    socket.destroy();
    stream.destroy();
    throw error;
  } finally {
    isOver = true;
  }
}

/** What was negotiated; to be asked after the handshake. */
export function tlsInfo(socket: TLSSocket, serverName: string | false | null | undefined): TlsInfo {
  const protocol = socket.getProtocol();
  if (protocol === null) throw new TlsError("TLS handshake left no protocol version");
  return { protocol, cipher: socket.getCipher().standardName, ...(serverName ? { serverName } : {}) };
}

/** A {@linkcode Transport} over TLS, established already. */
export class TlsTransport implements Transport {
  /** The other end. */
  readonly remote: SocketAddress;
  /** This end. */
  readonly local: SocketAddress;
  readonly #plain: Transport;
  readonly #stream: TransportStream;
  readonly #socket: TLSSocket;
  /** Decrypted, not yet taken. */
  #rest: Uint8Array | undefined;
  #ended = false;
  #closed = false;
  #error: Error | undefined;
  #wakeReader: (() => void) | undefined;
  #failWriter: (() => void) | undefined;

  /** Takes over the socket, its stream and the plain transport below. */
  constructor(plain: Transport, { stream, socket }: { stream: TransportStream; socket: TLSSocket }) {
    this.remote = plain.remote;
    this.local = plain.local;
    this.#plain = plain;
    this.#stream = stream;
    this.#socket = socket;
    stream.limit(() => this.#wakeReader !== undefined);
    const wake = () => {
      const waiting = this.#wakeReader;
      this.#wakeReader = undefined;
      waiting?.();
    };
    socket.on("readable", wake);
    socket.on("end", () => {
      this.#ended = true;
      wake();
    });
    // What fails after the handshake is told by the private event, and by nothing else.
    socket.on("_tlsError", (error: Error) => {
      this.#error ??= error;
      wake();
      this.#failWriter?.();
    });
    socket.on("error", (error: Error) => {
      this.#error ??= error;
      this.#destroy();
    });
    socket.on("close", () => {
      this.#ended = true;
      this.#destroy();
      wake();
      this.#failWriter?.();
    });
    stream.on("close", () => socket.destroy());
  }

  /** When reads and writes must be over: the plain transport's. */
  get deadline(): number {
    return this.#plain.deadline;
  }

  set deadline(deadline: number) {
    this.#plain.deadline = deadline;
  }

  /**
   * Reads what is there, at least one byte; `null` after the peer's close_notify or the end of the connection.
   * @throws {DeadlineError} when the deadline passes; the connection is closed then
   * @throws {ConnectionError} when the connection breaks
   * @throws {TlsError} when what comes is not valid TLS
   */
  async read(buffer: Uint8Array): Promise<number | null> {
    for (;;) {
      this.#check();
      this.#rest ??= this.#socket.read() as Uint8Array | null ?? undefined;
      if (this.#rest) return this.#take(buffer, this.#rest);
      if (this.#ended) return null;
      await new Promise<void>((resolve) => {
        this.#wakeReader = resolve;
        this.#stream.readOn();
      });
    }
  }

  /**
   * Writes all of it, waiting for the plain transport to take it.
   * @throws {DeadlineError} when the deadline passes; the connection is closed then
   * @throws {ConnectionError} when the connection breaks
   */
  async write(data: Uint8Array): Promise<void> {
    this.#check();
    if (data.length === 0) return;
    try {
      await new Promise<void>((resolve, reject) => {
        this.#failWriter = () => reject(new TlsError("connection closed"));
        this.#socket.write(data, (error) => error ? reject(error) : resolve());
      });
    } catch (error) {
      this.#check();
      throw error;
    } finally {
      this.#failWriter = undefined;
    }
    // A socket that was destroyed meanwhile reports its writes as done.
    this.#check();
  }

  /** Ends the connection within one turn of the event loop, with a close_notify if the peer takes it at once. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#socket.destroyed || this.#failWriter || this.#stream.failure) return this.#destroy();
    this.#socket.end(() => this.#destroy());
    setImmediate(() => this.#destroy());
  }

  #destroy(): void {
    this.#socket.destroy();
    this.#stream.destroy();
    this.#plain.close();
  }

  #take(buffer: Uint8Array, rest: Uint8Array): number {
    const size = Math.min(buffer.length, rest.length);
    buffer.set(rest.subarray(0, size));
    this.#rest = size < rest.length ? rest.subarray(size) : undefined;
    return size;
  }

  #check(): void {
    const failure = this.#stream.failure;
    if (failure) throw failure;
    if (this.#error) throw new TlsError(`TLS failed: ${this.#error.message}`, { cause: this.#error });
    if (this.#closed) throw new TlsError("connection closed", { code: "CLOSED" });
  }
}
