/**
 * The ports of a server: bound all or none, except for addresses that the machine does not have yet.
 *
 * @module
 */
import { bind as bindPort, BindError } from "../net/listen.ts";
import type { Logger } from "../base/log.ts";
import { CommandError } from "./exit_codes.ts";
import { errorText } from "../base/error_text.ts";

/** One port to listen on. */
export interface Endpoint {
  /** An IP address. */
  readonly address: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** `implicit`: the handshake comes first. */
  readonly tls: "off" | "starttls" | "implicit";
  /** The address is expected in a moment (RFC 4862 §5.4). */
  readonly tentative: boolean;
}

/** What the listeners need. */
export interface ListenersOptions {
  /** Serves what a listener accepts. */
  readonly serve: (listener: Deno.Listener, endpoint: Endpoint) => Promise<void>;
  /** Where each listener is told of. */
  readonly log: Logger;
  /** How long to wait for a missing address until it is tried again, in milliseconds; 2 seconds if absent. */
  readonly retryAfter?: number;
  /** For tests. */
  readonly bind?: typeof bindPort;
}

/** The listeners of a running server. */
export interface Listeners {
  /** Gives up on addresses that are still missing. To be called before the server is shut down. */
  stopRetrying(): void;
  /** Resolves when all listeners are closed. */
  readonly closed: Promise<void>;
}

/**
 * Binds all endpoints and serves them. One that is missing is tried again in the background, provided that another
 * one is bound or the address is expected.
 *
 * @throws {CommandError} with the exit code that fits when a port is taken or forbidden, or no address is there;
 * nothing stays bound then
 */
export function openListeners(endpoints: readonly Endpoint[], options: ListenersOptions): Listeners {
  const { serve, log, retryAfter = 2_000, bind = bindPort } = options;
  const bound: { listener: Deno.TcpListener; endpoint: Endpoint }[] = [];
  const missing: { endpoint: Endpoint; error: BindError }[] = [];
  try {
    for (const endpoint of endpoints) {
      try {
        bound.push({ listener: bind(endpoint.address, endpoint.port), endpoint });
      } catch (error) {
        if (!(error instanceof BindError) || error.kind !== "not-available") throw error;
        missing.push({ endpoint, error });
      }
    }
    const [first] = missing;
    if (first !== undefined && bound.length === 0 && !missing.some(({ endpoint }) => endpoint.tentative)) {
      throw first.error;
    }
  } catch (error) {
    for (const { listener } of bound) listener.close();
    if (error instanceof BindError) throw new CommandError(error.message, error.exitCode, { cause: error });
    throw error;
  }

  const serving: Promise<void>[] = [];
  const start = (listener: Deno.TcpListener, endpoint: Endpoint) => {
    const { hostname, port } = listener.addr;
    log.info("listener.ready", { address: hostname, port, tls: endpoint.tls });
    serving.push(serve(listener, endpoint));
  };
  const timers = new Set<ReturnType<typeof setTimeout>>();
  const retryLater = (endpoint: Endpoint) => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      let listener: Deno.TcpListener;
      try {
        listener = bind(endpoint.address, endpoint.port);
      } catch (error) {
        // Whatever it is, such as a want of descriptors: the addresses that are bound are served on.
        log.debug("listener.missing", {
          address: endpoint.address,
          port: endpoint.port,
          error: errorText(error),
        });
        return retryLater(endpoint);
      }
      start(listener, endpoint);
    }, retryAfter);
    timers.add(timer);
  };
  for (const { listener, endpoint } of bound) start(listener, endpoint);
  for (const { endpoint, error } of missing) {
    log.warn("listener.missing", {
      address: endpoint.address,
      port: endpoint.port,
      error: error.message,
      action: "trying again until it can be had",
    });
    retryLater(endpoint);
  }
  return {
    stopRetrying() {
      for (const timer of timers) clearTimeout(timer);
      timers.clear();
    },
    get closed() {
      return Promise.all(serving).then(() => {});
    },
  };
}
