/**
 * What signals mean to a server.
 *
 * @module
 */
import { EXIT } from "./exit_codes.ts";
import type { Io } from "./io.ts";

/** The signals of one server process. */
export interface ServerSignals {
  /** Resolves at the first SIGTERM or SIGINT; a second one ends the process at once. */
  readonly stopped: Promise<"SIGTERM" | "SIGINT">;
  /** What SIGHUP does from now on; one that came before is made up for. */
  onReload(reload: () => void): void;
}

/** Starts to listen for signals. To be called first: out of descriptors it could no longer be done. */
export function watchSignals(io: Pick<Io, "onSignal" | "exitNow" | "err">): ServerSignals {
  const { signals, stop, reload } = relayedSignals();
  let stopping = false;
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    io.onSignal(signal, () => {
      if (stopping) io.exitNow(EXIT.ok);
      stopping = true;
      stop(signal);
    });
  }
  io.onSignal("SIGHUP", reload);
  // At this one Deno opens a debugger, on loopback for every account; and code that may do nothing else may send it to
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

/** Signals for one who waits for them, and what brings them about. */
export function relayedSignals(): {
  readonly signals: ServerSignals;
  readonly stop: (signal: "SIGTERM" | "SIGINT") => void;
  readonly reload: () => void;
} {
  const { promise: stopped, resolve: stop } = Promise.withResolvers<"SIGTERM" | "SIGINT">();
  let pending = false;
  let reload = () => {
    pending = true;
  };
  const onReload = (callback: () => void) => {
    reload = callback;
    if (pending) callback();
  };
  return { signals: { stopped, onReload }, stop, reload: () => reload() };
}
