/**
 * Runs a server in a thread with the permissions it needs and no others; the main thread keeps none.
 *
 * Permissions can be narrowed to paths and ports only where a thread begins. So the main thread, which has all of
 * them, reads the configuration, starts the server's thread with the permissions it needs, and then gives up all of
 * its own, before the server sees the network. It keeps signals, the exit code, and the files of
 * {@linkcode NetworkFiles}, which it has opened before. A server that follows the machine's addresses is started by
 * a thread between the two (`launcher.ts`).
 *
 * @module
 */
import { denialText, onDenial, watchDenials } from "../observe/denials.ts";
import { EXIT, type ExitCode } from "./exit_codes.ts";
import { reportFailure } from "./failure.ts";
import type { Io } from "./io.ts";
import { errorWriter } from "./journal.ts";
import { LAUNCHER, launcherGrants, runLauncher } from "./launcher.ts";
import { NetworkFiles, type NetworkTexts, ToldNetwork } from "./network_files.ts";
import { releaseStartMemory } from "./release_memory.ts";
import type { ConfinedName, RunServer, ServerStart } from "./server_start.ts";
import { relayedSignals, type ServerSignals } from "./signals.ts";
import {
  type FromLauncher,
  type FromServer,
  type RunHelper,
  startThread,
  type ThreadScope,
  type ToLauncher,
} from "./threads.ts";

/** What the main thread needs. */
export interface ConfineOptions {
  /** The module that calls {@linkcode serveConfined} where it finds itself in another thread. */
  readonly entry: string;
  /** Already being listened for, as that is no longer possible afterwards. */
  readonly signals: ServerSignals;
  /** For the error of a server that crashes. */
  readonly err: Io["err"];
  /** Interval between pings of the server's thread, in milliseconds; 30 seconds if absent. */
  readonly pingInterval?: number;
}

const KINDS = ["run", "ffi", "env", "sys", "net", "read", "write", "import"] as const;
/** Unanswered pings after which the server counts as unresponsive and the process ends. */
const MAX_UNANSWERED = 4;
/** Interval between reads of routes and addresses, in milliseconds. */
const POLL_INTERVAL = 5_000;

/** Runs the server in its thread, and gives up all permissions of this one. Returns the exit code. */
export async function confine(start: ServerStart, options: ConfineOptions): Promise<ExitCode> {
  const { entry, signals, err, pingInterval = 30_000 } = options;
  const { server, grants, seesNetwork, follow } = start;
  const { promise, resolve } = Promise.withResolvers<ExitCode>();
  const files = seesNetwork || follow !== undefined ? new NetworkFiles() : undefined;
  const thread = follow === undefined
    ? startThread(entry, { name: server, grants })
    : startThread(entry, { name: LAUNCHER, grants: launcherGrants(grants) });
  const tell = (message: ToLauncher) => thread.postMessage(message);
  const die = (reason: string) => {
    errorWriter(err, start)(`mailapp: ${server} has crashed: ${reason}\n`);
    resolve(EXIT.software);
  };
  thread.onerror = (event) => {
    event.preventDefault();
    die(event.message);
  };
  let unanswered = 0;
  const ping = () => {
    if (unanswered++ >= MAX_UNANSWERED) return die("its thread does not answer");
    tell({ kind: "ping" });
  };
  const begin = () => {
    giveUpPermissions();
    onDenial((denial) => errorWriter(err, start)(`mailapp: ${server}: ${denialText(denial)}\n`));
    watchDenials();
    releaseStartMemory();
    setInterval(ping, pingInterval);
    // First, as the server looks for its own addresses when it starts.
    if (files !== undefined) watchNetworkFiles(files, (texts) => tell({ kind: "network", texts }));
    tell({ kind: "start", start });
    signals.onReload(() => tell({ kind: "reload" }));
    signals.stopped.then((reason) => tell({ kind: "stop", reason }));
    signals.forced.addEventListener("abort", () => tell({ kind: "force" }));
  };
  let begun = false;
  thread.onmessage = ({ data }: MessageEvent<FromLauncher>) => {
    switch (data.kind) {
      case "launcher":
        if (follow !== undefined) tell({ kind: "load", launch: { entry, server, grants } });
        break;
      case "ready":
        // A compromised thread may send anything.
        if (!begun) begin();
        begun = true;
        break;
      case "pong":
        unanswered = 0;
        break;
      case "ended":
        resolve(data.exitCode);
        break;
      case "died":
        die(data.reason);
    }
  };
  return await promise;
}

function giveUpPermissions(): void {
  for (const name of KINDS) {
    const { state } = Deno.permissions.revokeSync({ name } as Deno.PermissionDescriptor);
    if (state === "granted") throw new Error(`the permission ${name} cannot be given up`);
  }
}

function watchNetworkFiles(files: NetworkFiles, tell: (texts: NetworkTexts) => void): void {
  let told = "";
  const poll = () => {
    const texts = files.read();
    const seen = JSON.stringify(texts);
    if (seen !== told) tell(texts);
    told = seen;
  };
  poll();
  Deno.unrefTimer(setInterval(poll, POLL_INTERVAL));
}

/** Whether this is a thread that {@linkcode confine} has started, and not the main one. */
export function isConfined(): boolean {
  return "WorkerGlobalScope" in globalThis;
}

/** What the threads of the program load, by name. */
export interface ThreadModules {
  /** A server. */
  server(name: ConfinedName): Promise<RunServer>;
  /** A helper thread that a server starts; `undefined` for the name of a server. Absent: there are none. */
  helper?(name: string): Promise<RunHelper | undefined>;
}

/**
 * The work of a thread other than the main one: loads the server, waits until the main thread has given up its
 * permissions, serves; or starts the thread that does; or runs as a helper.
 * @param options `entry`: the module that every thread begins with
 */
export async function serveConfined(
  load: ThreadModules,
  { err, entry }: Pick<Io, "err"> & { readonly entry: string },
): Promise<void> {
  watchDenials();
  releaseStartMemory();
  const scope = globalThis as unknown as ThreadScope<ToLauncher, FromServer>;
  const tellDenials = () => onDenial((denial) => err(`mailapp: ${scope.name}: ${denialText(denial)}\n`));
  if (isLauncher()) {
    tellDenials();
    return runLauncher(globalThis as unknown as ThreadScope<ToLauncher, FromLauncher>);
  }
  const help = await load.helper?.(scope.name);
  if (help !== undefined) {
    // Until it has a log, if it gets one.
    tellDenials();
    return help(globalThis);
  }
  const run = await load.server(scope.name as ConfinedName);
  const network = new ToldNetwork();
  const { signals, stop, force, reload } = relayedSignals();
  let follow: Parameters<Parameters<RunServer>[1]["onAddresses"]>[0] = () => {};
  const onAddresses = (callback: typeof follow) => void (follow = callback);
  scope.onmessage = ({ data }) => {
    switch (data.kind) {
      case "start":
        run(data.start, { signals, network, onAddresses, entry }).catch((error) =>
          reportFailure(error, { err: errorWriter(err, data.start) })
        )
          .then(
            (exitCode) => scope.postMessage({ kind: "ended", exitCode }),
          );
        break;
      case "network":
        network.texts = data.texts;
        break;
      case "addresses":
        follow(data.addresses);
        break;
      case "ping":
        scope.postMessage({ kind: "pong" });
        break;
      case "reload":
        reload();
        break;
      case "stop":
        stop(data.reason);
        break;
      case "force":
        force();
    }
  };
  scope.postMessage({ kind: "ready" });
}

function isLauncher(): boolean {
  return (globalThis as unknown as ThreadScope<unknown, unknown>).name === LAUNCHER;
}
