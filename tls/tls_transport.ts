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

/** A plain transport as a stream, for node:tls to run over. */
export interface TransportStream {
  /** The stream; destroying it closes the transport. */
  readonly duplex: Duplex;
  /** Why the plain transport ended, if by failure: says more than the stream's own errors. */
  failure(): Error | undefined;
  /**
   * After the handshake: reads from the plain transport only while `wanted` holds, since node:tls takes whatever it is
   * given; and into a small buffer at first.
   */
  limit(wanted: () => boolean): void;
  /** Looks again whether more is wanted. */
  resume(): void;
}

/** Adapts a transport to a stream. */
export function streamOver(plain: Transport): TransportStream {
  let failure: Error | undefined;
  let isWanted = () => true;
  let parked = false;
  let least = SMALL_BUFFER_SIZE;
  let buffer = new Uint8Array(least);
  /** Octets of the last read. */
  let size = 0;
  const fill = async () => {
    try {
      if (size === buffer.length) least = SMALL_BUFFER_SIZE;
      const wanted = size === buffer.length ? BUFFER_SIZE : size < least ? least : buffer.length;
      if (buffer.length !== wanted) buffer = new Uint8Array(wanted);
      size = await plain.read(buffer) ?? 0;
      duplex.push(size === 0 ? null : Buffer.from(buffer.subarray(0, size)));
    } catch (error) {
      failure ??= error as Error;
      duplex.destroy(failure);
    }
  };
  const duplex = new Duplex({
    highWaterMark: BUFFER_SIZE,
    read() {
      parked = !isWanted();
      if (!parked) fill();
    },
    write(chunk: Uint8Array, _encoding, done) {
      plain.write(chunk).then(() => done(), (error: Error) => {
        failure ??= error;
        done(failure);
      });
    },
    destroy(error, done) {
      plain.close();
      done(error);
    },
  });
  // The TLS socket on top tells; a stream without a listener would end the process.
  duplex.on("error", () => {});
  return {
    duplex,
    failure: () => failure,
    limit(condition) {
      isWanted = condition;
      least = FIRST_BUFFER_SIZE;
    },
    resume() {
      if (!parked || !isWanted()) return;
      parked = false;
      fill();
    },
  };
}

/** Waits for the handshake to succeed, by `event`, or to fail; then nothing is left open. */
export async function handshake(
  socket: TLSSocket,
  stream: TransportStream,
  event: "secure" | "secureConnect",
): Promise<void> {
  const side = event === "secure" ? "server" : "client";
  const since = performance.now();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const fail = (error?: Error & { code?: string }) =>
    reject(
      stream.failure() ??
        new TlsError(`TLS handshake failed: ${error?.message ?? "connection closed by the peer"}`, {
          code: error?.code,
          cause: error,
        }),
    );
  const closed = () => fail();
  socket.once(event, resolve);
  // node:tls reports a failure before the handshake is over by the private event, and by nothing else.
  socket.once("_tlsError", fail);
  // Stays: what fails later is told by the transport.
  socket.on("error", fail);
  socket.once("close", closed);
  // In the handshake the peer's end is a failure; the socket keeps silent about it.
  stream.duplex.once("end", closed);
  try {
    await promise;
    handshakeTime.with(side).observe((performance.now() - since) / 1000);
    handshakes.with(side, socket.getProtocol() ?? "unknown").add();
  } catch (error) {
    handshakes.with(side, "failed").add();
    socket.destroy();
    stream.duplex.destroy();
    throw error;
  } finally {
    socket.removeListener(event, resolve);
    socket.removeListener("_tlsError", fail);
    socket.removeListener("close", closed);
    stream.duplex.removeListener("end", closed);
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
    stream.duplex.on("close", () => socket.destroy());
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
        this.#stream.resume();
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
    if (this.#socket.destroyed || this.#failWriter || this.#stream.failure()) return this.#destroy();
    this.#socket.end(() => this.#destroy());
    setImmediate(() => this.#destroy());
  }

  #destroy(): void {
    this.#socket.destroy();
    this.#stream.duplex.destroy();
    this.#plain.close();
  }

  #take(buffer: Uint8Array, rest: Uint8Array): number {
    const size = Math.min(buffer.length, rest.length);
    buffer.set(rest.subarray(0, size));
    this.#rest = size < rest.length ? rest.subarray(size) : undefined;
    return size;
  }

  #check(): void {
    const failure = this.#stream.failure();
    if (failure) throw failure;
    if (this.#error) throw new TlsError(`TLS failed: ${this.#error.message}`, { cause: this.#error });
    if (this.#closed) throw new TlsError("connection closed", { code: "CLOSED" });
  }
}
