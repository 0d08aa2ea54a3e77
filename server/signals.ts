/**
 * What signals mean to a server.
 *
 * @module
 */
import { type Clock, systemClock } from "../base/clock.ts";
import { EXIT } from "./exit_codes.ts";
import type { Io } from "./io.ts";
import type { ShutdownOptions } from "../smtp/server.ts";

/** The signals that stop a server. */
export type StopSignal = "SIGTERM" | "SIGINT";

/** Why a server's thread is replaced: by one that may listen on new addresses, or query new DNS servers. */
export type Replacement = "new addresses" | "new DNS servers";

/** Why a server's thread ends. */
export type StopReason = StopSignal | Replacement;

/** The signals of one server process. */
export interface ServerSignals {
  /** Resolves at the first SIGTERM or SIGINT, or when another thread takes over. */
  readonly stopped: Promise<StopReason>;
  /** Aborted at a second one: the server ends at once instead of waiting for what is in flight. */
  readonly forced: AbortSignal;
  /** Sets the callback for SIGHUP. An earlier SIGHUP triggers it at once. */
  onReload(reload: () => void): void;
}

/** For clients that came while messages in flight were waited for, in milliseconds. */
export const LATE_CLIENTS = 5_000;

/**
 * How a server that follows the machine's addresses ends. Where another thread is to take over, new clients are accepted
 * as long as a message is in flight: they must not find the port closed because someone is slow.
 */
export function shutdownFor(
  reason: StopReason,
  { grace, forced }: { readonly grace: number; readonly forced: AbortSignal },
): ShutdownOptions {
  if (reason === "SIGTERM" || reason === "SIGINT") return { grace, forced };
  return { grace, forced, accepting: Promise.resolve(), lateGrace: LATE_CLIENTS };
}

/** The signals as another thread passes them on. */
export interface RelayedSignals {
  /** The signals, for the server. */
  readonly signals: ServerSignals;
  /** SIGTERM or SIGINT; the first call counts. */
  readonly stop: (reason: StopReason) => void;
  /** A second SIGTERM or SIGINT. */
  readonly force: () => void;
  /** SIGHUP. */
  readonly reload: () => void;
}

/**
 * Within this many milliseconds a repeated request counts once: a supervisor such as `deno task`, and a terminal, send
 * SIGTERM or SIGINT to the whole process group, and the process gets it a second time from its parent.
 */
const ONE_REQUEST = 1_000;
/**
 * Time limit for a forced shutdown, in milliseconds: final dots that wait for their reply have
 * {@linkcode LAST_REPLIES} of it, recording the outcome the rest.
 */
const END_AT_ONCE = 10_000;
/** Time to wait for the reply to a final dot in a forced shutdown, in milliseconds. */
export const LAST_REPLIES = 5_000;

/**
 * Starts to listen for signals. To be called first: without free descriptors it would fail.
 * @param io `clock`: the system's if absent
 */
export function watchSignals(
  io: Pick<Io, "onSignal" | "exitNow" | "err"> & { readonly clock?: Clock },
): ServerSignals {
  const { clock = systemClock } = io;
  const { signals, stop, force, reload } = relayedSignals();
  let requestedAt = -Infinity;
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    io.onSignal(signal, () => {
      const now = clock.monotonic();
      if (now - requestedAt < ONE_REQUEST) return;
      const first = requestedAt === -Infinity;
      requestedAt = now;
      if (first) return stop(signal);
      if (signals.forced.aborted) return io.exitNow(EXIT.ok);
      force();
      // An unresponsive server must not outlive the request.
      clock.after(END_AT_ONCE, () => io.exitNow(EXIT.ok));
    });
  }
  io.onSignal("SIGHUP", reload);
  // At this signal Deno opens a debugger, on loopback for every account; and code without permissions may send it to
  // its own process. That cannot be turned off.
  io.onSignal("SIGUSR1", () => {
    try {
      io.err("mailapp: ended by SIGUSR1, at which Deno opens a debugger\n");
    } finally {
      io.exitNow(EXIT.software);
    }
  });
  return signals;
}

/** Signals that are passed on by calls. */
export function relayedSignals(): RelayedSignals {
  const { promise: stopped, resolve: stop } = Promise.withResolvers<StopReason>();
  const force = new AbortController();
  let pending = false;
  let reload = () => {
    pending = true;
  };
  const onReload = (callback: () => void) => {
    reload = callback;
    if (pending) callback();
  };
  return {
    signals: { stopped, forced: force.signal, onReload },
    stop,
    force: () => force.abort(),
    reload: () => reload(),
  };
}
