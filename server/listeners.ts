/**
 * The ports of a server, on addresses that may appear late and disappear.
 *
 * @module
 */
import { bind as bindPort, BindError, showEndpoint } from "../net/listen.ts";
import { errorText } from "../base/error_text.ts";
import type { Logger } from "../base/log.ts";
import { CommandError } from "./exit_codes.ts";

/** One port to listen on. */
export interface Endpoint {
  /** An IP address. */
  readonly address: string;
  /** 0 picks a free one. */
  readonly port: number;
  /** `implicit`: TLS from the start. */
  readonly tls: "off" | "starttls" | "implicit";
  /** The address is tentative, usable in a moment (RFC 4862 §5.4). */
  readonly tentative: boolean;
}

/** What the listeners need. */
export interface ListenersOptions {
  /** Serves what a listener accepts. */
  readonly serve: (listener: Deno.Listener, endpoint: Endpoint) => Promise<void>;
  /** Logs each listener. */
  readonly logger: Logger;
  /** Whether all addresses may still be missing. */
  readonly mayWait?: boolean;
  /** Time between tries of a missing address, in milliseconds; 2 seconds if absent. */
  readonly retryAfter?: number;
  /** For tests. */
  readonly bind?: typeof bindPort;
}

/** The listeners of a running server. */
export class Listeners {
  readonly #options: ListenersOptions;
  readonly #bind: typeof bindPort;
  /** The listener of each endpoint. */
  readonly #bound = new Map<string, Deno.TcpListener>();
  readonly #missing = new Map<string, ReturnType<typeof setTimeout>>();
  readonly #serving = new Set<Promise<void>>();

  /** Binds nothing until {@linkcode Listeners.open}. */
  constructor(options: ListenersOptions) {
    this.#options = options;
    this.#bind = options.bind ?? bindPort;
  }

  /**
   * Binds all endpoints and serves them. One that is missing is tried again in the background, provided that another
   * one is bound, the address is expected, or the server may wait.
   *
   * @throws {CommandError} with the exit code that fits when a port is taken or forbidden, or no address is there;
   * nothing stays bound then
   */
  open(endpoints: readonly Endpoint[]): void {
    const bound: { listener: Deno.TcpListener; endpoint: Endpoint }[] = [];
    const missing: { endpoint: Endpoint; error: BindError }[] = [];
    try {
      for (const endpoint of endpoints) {
        try {
          bound.push({ listener: this.#bind(endpoint.address, endpoint.port), endpoint });
        } catch (error) {
          if (!(error instanceof BindError) || error.kind !== "not-available") throw error;
          missing.push({ endpoint, error });
        }
      }
      const [first] = missing;
      const mayWait = this.#options.mayWait || missing.some(({ endpoint }) => endpoint.tentative);
      if (first !== undefined && bound.length === 0 && !mayWait) throw first.error;
    } catch (error) {
      for (const { listener } of bound) listener.close();
      if (error instanceof BindError) throw new CommandError(error.message, error.exitCode, { cause: error });
      throw error;
    }
    for (const { listener, endpoint } of bound) this.#start(listener, endpoint);
    for (const { endpoint, error } of missing) this.#wait(endpoint, error);
  }

  /** Serves these endpoints from now on: closes those that are not among them, and binds what is new. */
  follow(endpoints: readonly Endpoint[]): void {
    const wanted = new Set(endpoints.map(keyOf));
    for (const [key, listener] of this.#bound) {
      if (wanted.has(key)) continue;
      this.#bound.delete(key);
      const { hostname, port } = listener.addr;
      listener.close();
      this.#options.logger.info("listener.closed", {
        address: hostname,
        port,
        reason: "the address has gone",
      });
    }
    for (const [key, timer] of this.#missing) {
      if (wanted.has(key)) continue;
      clearTimeout(timer);
      this.#missing.delete(key);
    }
    for (const endpoint of endpoints) {
      const key = keyOf(endpoint);
      if (this.#bound.has(key) || this.#missing.has(key)) continue;
      const error = this.#try(endpoint);
      if (error !== undefined) this.#wait(endpoint, error);
    }
  }

  /** Gives up on addresses that are still missing. To be called before the server is shut down. */
  stopRetrying(): void {
    for (const timer of this.#missing.values()) clearTimeout(timer);
    this.#missing.clear();
  }

  /** Resolves when all listeners are closed. */
  async closed(): Promise<void> {
    while (this.#serving.size > 0) await Promise.all(this.#serving);
  }

  /** Binds and serves; the error where that is not possible. */
  #try(endpoint: Endpoint): unknown {
    let listener: Deno.TcpListener;
    try {
      listener = this.#bind(endpoint.address, endpoint.port);
    } catch (error) {
      return error;
    }
    this.#start(listener, endpoint);
    return undefined;
  }

  #start(listener: Deno.TcpListener, endpoint: Endpoint): void {
    const { hostname, port } = listener.addr;
    this.#options.logger.info("listener.ready", { address: hostname, port, tls: endpoint.tls });
    this.#bound.set(keyOf(endpoint), listener);
    const serving = this.#options.serve(listener, endpoint).finally(() => this.#serving.delete(serving));
    this.#serving.add(serving);
  }

  #wait(endpoint: Endpoint, error: unknown): void {
    this.#options.logger.warn("listener.missing", {
      address: endpoint.address,
      port: endpoint.port,
      error: errorText(error),
      action: "retrying until it is available",
    });
    this.#retryLater(endpoint);
  }

  #retryLater(endpoint: Endpoint): void {
    const { retryAfter = 2_000, logger } = this.#options;
    const key = keyOf(endpoint);
    const retry = () => {
      this.#missing.delete(key);
      // Whatever it is, such as a lack of descriptors: the bound addresses are still served.
      const error = this.#try(endpoint);
      if (error === undefined) return;
      const { address, port } = endpoint;
      logger.debug("listener.missing", { address, port, error: errorText(error) });
      this.#retryLater(endpoint);
    };
    this.#missing.set(key, setTimeout(retry, retryAfter));
  }
}

function keyOf({ address, port, tls }: Endpoint): string {
  return `${showEndpoint(address, port)} ${tls}`;
}
