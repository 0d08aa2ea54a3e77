/**
 * A connection in memory: the server has one end, the test the other.
 *
 * @module
 */
import type { Clock } from "../../base/clock.ts";
import { ConnectionError } from "../../net/conn_transport.ts";
import type { SocketAddress } from "../../net/transport.ts";
import { DeadlineError, type Transport } from "../../net/transport.ts";
import { Watchdog } from "../../base/watchdog.ts";
import { cut } from "./bytes.ts";

/** What a test may choose. */
export interface MemoryTransportOptions {
  /** Measures the deadline. */
  readonly clock: Clock;
  /** The client's address; `192.0.2.9` unless told. */
  readonly remoteAddress?: string;
}

interface Waiter {
  readonly buffer: Uint8Array;
  readonly resolve: (octets: number | null) => void;
  readonly reject: (error: Error) => void;
}

/**
 * A {@linkcode Transport} without a network. Each chunk that the test sends is one read, or more where the buffer is
 * smaller, so that a test decides how bytes are cut.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { systemClock } from "../../base/clock.ts";
 * import { bytesOf, textOf } from "./bytes.ts";
 * import { MemoryTransport } from "./memory_transport.ts";
 *
 * const transport = new MemoryTransport({ clock: systemClock });
 * const read = transport.read(new Uint8Array(10));
 * transport.send(bytesOf("NOOP\r\n"));
 * assert.equal(await read, 6);
 * await transport.write(bytesOf("250 OK\r\n"));
 * assert.equal(textOf(transport.take()), "250 OK\r\n");
 * transport.close();
 * ```
 */
export class MemoryTransport implements Transport {
  /** The client's end. */
  readonly remote: SocketAddress;
  /** The server's end. */
  readonly local: SocketAddress = { address: "192.0.2.1", port: 25 };
  /** Whether the server has closed the connection. */
  closed = false;
  /** Whether the server has said that it writes no more. */
  writeClosed = false;
  /** Octets written while the client took nothing: what a real connection would have to hold. */
  heldOctets = 0;
  readonly #watchdog: Watchdog;
  readonly #input: Uint8Array[] = [];
  /** The first chunk of #input that is not read yet. */
  #next = 0;
  #output: Uint8Array[] = [];
  #ended = false;
  #failure: Error | undefined;
  #reader: Waiter | undefined;
  #stalled: PromiseWithResolvers<void> | undefined;
  #idle: PromiseWithResolvers<void> | undefined;

  /** An open connection. */
  constructor({ clock, remoteAddress = "192.0.2.9" }: MemoryTransportOptions) {
    this.remote = { address: remoteAddress, port: 50_000 };
    this.#watchdog = new Watchdog(clock, () => this.#break(new DeadlineError()));
  }

  get deadline(): number {
    return this.#watchdog.deadline;
  }

  set deadline(deadline: number) {
    if (!this.closed) this.#watchdog.deadline = deadline;
  }

  async read(buffer: Uint8Array): Promise<number | null> {
    if (this.#failure) throw this.#failure;
    if (this.#reader) throw new Error("two reads at the same time");
    const chunk = this.#input[this.#next];
    if (chunk) {
      const size = Math.min(chunk.length, buffer.length);
      buffer.set(chunk.subarray(0, size));
      if (size < chunk.length) this.#input[this.#next] = chunk.subarray(size);
      else if (++this.#next === this.#input.length) this.#next = this.#input.length = 0;
      return size;
    }
    if (this.#ended) return null;
    this.#idle?.resolve();
    const { promise, resolve, reject } = Promise.withResolvers<number | null>();
    this.#reader = { buffer, resolve, reject };
    return await promise;
  }

  async write(data: Uint8Array): Promise<void> {
    const bytes = data.slice();
    // As on a socket, a write is never over at once.
    await Promise.resolve();
    if (this.#failure) throw this.#failure;
    if (this.writeClosed) throw new Error("a write after closeWrite()");
    if (this.#stalled) {
      this.heldOctets += bytes.length;
      await this.#stalled.promise;
    }
    this.#output.push(bytes);
  }

  closeWrite(): Promise<void> {
    this.writeClosed = true;
    this.#idle?.resolve();
    return this.#failure ? Promise.reject(this.#failure) : Promise.resolve();
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.#watchdog.cancel();
    this.#break(new ConnectionError("connection closed", { code: "CLOSED" }));
  }

  /** The client sends: one chunk, or several of these sizes. */
  send(bytes: Uint8Array, sizes: readonly number[] = []): void {
    for (const chunk of cut(bytes, sizes)) this.#input.push(chunk.slice());
    this.#feed();
  }

  /** The client closes its side. */
  end(): void {
    this.#ended = true;
    this.#feed();
  }

  /** The connection breaks. */
  reset(): void {
    this.#break(new ConnectionError("connection broken: reset by peer", { code: "ECONNRESET" }));
  }

  /** The client stops reading: writes wait. */
  stall(): void {
    this.#stalled ??= Promise.withResolvers();
    this.#stalled.promise.catch(() => {});
  }

  /** The client reads again. */
  flow(): void {
    this.#stalled?.resolve();
    this.#stalled = undefined;
  }

  /** What the server has written since the last call. */
  take(): Uint8Array {
    const output = new Uint8Array(this.#output.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of this.#output) {
      output.set(part, at);
      at += part.length;
    }
    this.#output = [];
    return output;
  }

  /** Octets that were sent and that the server has not read. */
  get unread(): number {
    return this.#input.slice(this.#next).reduce((sum, chunk) => sum + chunk.length, 0);
  }

  /** Resolves when the server has read everything and waits for more, or has closed. */
  async waiting(): Promise<void> {
    if (this.closed || this.#reader) return;
    this.#idle ??= Promise.withResolvers();
    await this.#idle.promise;
    this.#idle = undefined;
    // Closing its side comes just before the last reads.
    await Promise.resolve();
  }

  #feed(): void {
    const reader = this.#reader;
    if (!reader || (this.#input.length === 0 && !this.#ended)) return;
    this.#reader = undefined;
    this.read(reader.buffer).then(reader.resolve, reader.reject);
  }

  #break(error: Error): void {
    this.#failure ??= error;
    if (error instanceof DeadlineError) this.closed = true;
    this.#reader?.reject(this.#failure);
    this.#reader = undefined;
    this.#stalled?.reject(this.#failure);
    this.#idle?.resolve();
  }
}
