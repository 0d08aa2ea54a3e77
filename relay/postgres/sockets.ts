/**
 * The sockets of a client of PostgreSQL, which tries several servers in turn. Its library does so without a pause: while
 * all servers are away that takes a processor.
 *
 * @module
 */
import { Socket } from "node:net";
import type { Clock } from "../../base/clock.ts";
import { CONNECT_WITHIN_SECONDS } from "./credentials.ts";
import type { DatabaseUrl } from "./url.ts";

// Milliseconds. One that was closed sooner could not be used: there is no server, or it is a standby.
const USABLE_AFTER = 2_000 * CONNECT_WITHIN_SECONDS;
// Milliseconds. Sooner than the client would give up, and with it the statement that waits.
const SILENT_AFTER = 1_000 * CONNECT_WITHIN_SECONDS - 1_000;
/** The time between two tries of a server that could not be used, in milliseconds. */
const AGAIN_AFTER = 1_000;

type Server = DatabaseUrl["hosts"][number];

/** Tells when it is closed. The library removes all listeners of a socket before it begins TLS. */
class WatchedSocket extends Socket {
  readonly #closed: () => void;

  constructor(closed: () => void) {
    super();
    this.#closed = closed;
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#closed();
    super._destroy(error, callback);
  }
}

/** Opens sockets for one client. */
export class Sockets {
  readonly #clock: Clock;
  readonly #servers: { readonly server: Server; failedAt: number }[];
  readonly #waits = new Set<ReturnType<typeof setTimeout>>();
  #closed = false;

  /** Opens nothing yet. */
  constructor(servers: readonly Server[], clock: Clock) {
    this.#clock = clock;
    this.#servers = servers.map((server) => ({ server, failedAt: -Infinity }));
  }

  /** A socket that is about to connect to the server whose last failure is the longest ago. */
  async open(): Promise<Socket> {
    await this.#pause();
    // The first that was named where none has failed.
    const [next] = this.#inTurn();
    // Were this to fail, the library would try again.
    if (next === undefined || this.#closed) return await new Promise(() => {});
    const { server } = next;
    const began = this.#clock.monotonic();
    let silence: ReturnType<typeof setTimeout> | undefined;
    const socket = new WatchedSocket(() => {
      clearTimeout(silence);
      const now = this.#clock.monotonic();
      if (now - began < USABLE_AFTER) next.failedAt = now;
    });
    // The next server may answer.
    if (this.#servers.length > 1) {
      silence = setTimeout(() => void (socket.bytesRead === 0 && socket.destroy()), SILENT_AFTER);
    }
    if ("path" in server) return socket.connect({ path: `${server.path}/.s.PGSQL.${server.port}` });
    // The library takes the name for TLS from here.
    return Object.assign(socket.connect({ host: server.host, port: server.port }), server);
  }

  /** Opens no more. */
  close(): void {
    this.#closed = true;
    for (const wait of this.#waits) clearTimeout(wait);
    this.#waits.clear();
  }

  #inTurn() {
    return this.#servers.toSorted((a, b) => a.failedAt - b.failedAt);
  }

  /** Waits where every server has failed a moment ago. */
  async #pause(): Promise<void> {
    const [next] = this.#inTurn();
    const wait = (next?.failedAt ?? -Infinity) + AGAIN_AFTER - this.#clock.monotonic();
    if (wait <= 0 || this.#closed) return;
    await new Promise<void>((resolve) => {
      // A timer of the clock would not keep the process running, and nothing else may be under way.
      const timer = setTimeout(() => {
        this.#waits.delete(timer);
        resolve();
      }, wait);
      this.#waits.add(timer);
    });
  }
}
