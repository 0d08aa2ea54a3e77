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
export function watchSignals(io: Io): ServerSignals {
  const { promise: stopped, resolve } = Promise.withResolvers<"SIGTERM" | "SIGINT">();
  let stopping = false;
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    io.onSignal(signal, () => {
      if (stopping) io.exitNow(EXIT.ok);
      stopping = true;
      resolve(signal);
    });
  }
  let pending = false;
  let reload = () => {
    pending = true;
  };
  io.onSignal("SIGHUP", () => reload());
  return {
    stopped,
    onReload(callback) {
      reload = callback;
      if (pending) callback();
    },
  };
}
