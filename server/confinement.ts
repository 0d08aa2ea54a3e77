/**
 * A server in a thread that may do no more than it needs, beside one that may do nothing.
 *
 * Permissions can be narrowed to paths and ports only where a thread begins. So the main thread, which has all of
 * them, reads the configuration, starts the server's thread with what that calls for, and then gives up every one of
 * its own, before the server sees the network. What is left to it are signals, the exit code, and the files of
 * {@linkcode NetworkFiles}, which it had opened before.
 *
 * @module
 */
import { EXIT, type ExitCode } from "./exit_codes.ts";
import { reportFailure } from "./failure.ts";
import type { Io } from "./io.ts";
import { NetworkFiles, type NetworkTexts, ToldNetwork } from "./network_files.ts";
import type { RunServer, ServerName, ServerStart } from "./server_start.ts";
import { relayedSignals, type ServerSignals, type StopSignal } from "./signals.ts";

/** From the main thread to the server's. */
type ToServer =
  | { readonly kind: "start"; readonly start: ServerStart }
  | { readonly kind: "network"; readonly texts: NetworkTexts }
  | { readonly kind: "reload" }
  | { readonly kind: "ping" }
  | { readonly kind: "stop"; readonly signal: StopSignal }
  | { readonly kind: "hurry" };

/** From the server's thread to the main one: its modules are loaded; it lives; it has ended. */
type FromServer =
  | { readonly kind: "ready" }
  | { readonly kind: "pong" }
  | { readonly kind: "ended"; readonly exitCode: ExitCode };

/** What the main thread needs. */
export interface ConfineOptions {
  /** The module that calls {@linkcode serveConfined} where it finds itself in the server's thread. */
  readonly entry: string;
  /** Already listening, as that is no longer possible afterwards. */
  readonly signals: ServerSignals;
  /** For the last words of a server that dies. */
  readonly err: Io["err"];
  /** How often the server's thread is asked whether it lives, in milliseconds; 30 seconds if absent. */
  readonly pingInterval?: number;
}

const KINDS = ["run", "ffi", "env", "sys", "net", "read", "write", "import"] as const;
/** Unanswered pings after which the server counts as unresponsive and the process ends. */
const MAX_UNANSWERED = 4;
/** How often routes and addresses are looked at, in milliseconds. */
const LOOK_AGAIN = 10_000;

/** Runs the server in its thread, and gives up all permissions of this one. What the process ends with. */
export async function confine(start: ServerStart, options: ConfineOptions): Promise<ExitCode> {
  const { entry, signals, err, pingInterval = 30_000 } = options;
  const { net, read, write, sys } = start.grants;
  const { promise, resolve } = Promise.withResolvers<ExitCode>();
  const files = start.seesNetwork ? new NetworkFiles() : undefined;
  const permissions = { net, read, write, sys, env: false, run: false, ffi: false, import: false };
  const workerOptions = { type: "module", name: start.server, deno: { permissions } };
  const worker = new Worker(entry, workerOptions as WorkerOptions);
  const tell = (message: ToServer) => worker.postMessage(message);
  const die = (reason: string) => {
    err(`mailapp: ${start.server} has died: ${reason}\n`);
    resolve(EXIT.software);
  };
  worker.onerror = (event) => {
    event.preventDefault();
    die(event.message);
  };
  let unanswered = 0;
  const ping = () => {
    if (unanswered++ >= MAX_UNANSWERED) return die("its thread does not answer");
    tell({ kind: "ping" });
  };
  let started = false;
  worker.onmessage = ({ data }: MessageEvent<FromServer>) => {
    if (data.kind === "pong") return void (unanswered = 0);
    if (data.kind === "ended") return resolve(data.exitCode);
    // Who owns the server's thread may say anything.
    if (started) return;
    started = true;
    giveUpPermissions();
    setInterval(ping, pingInterval);
    if (files !== undefined) keepTelling(files, (texts) => tell({ kind: "network", texts }));
    tell({ kind: "start", start });
    signals.onReload(() => tell({ kind: "reload" }));
    signals.stopped.then((signal) => tell({ kind: "stop", signal }));
    signals.hurried.addEventListener("abort", () => tell({ kind: "hurry" }));
  };
  return await promise;
}

function giveUpPermissions(): void {
  for (const name of KINDS) {
    const { state } = Deno.permissions.revokeSync({ name } as Deno.PermissionDescriptor);
    if (state === "granted") throw new Error(`the permission ${name} cannot be given up`);
  }
}

function keepTelling(files: NetworkFiles, tell: (texts: NetworkTexts) => void): void {
  let told = "";
  const look = () => {
    const texts = files.read();
    const seen = JSON.stringify(texts);
    if (seen !== told) tell(texts);
    told = seen;
  };
  look();
  Deno.unrefTimer(setInterval(look, LOOK_AGAIN));
}

/** The side of a worker's global scope that is needed; the libraries of the browser's window do not have it. */
interface WorkerScope {
  readonly name: string;
  postMessage(message: FromServer): void;
  onmessage: ((event: MessageEvent<ToServer>) => void) | null;
}

/** Whether this is a thread that {@linkcode confine} has started, and not the main one. */
export function isConfined(): boolean {
  return "WorkerGlobalScope" in globalThis;
}

/**
 * What the server's thread does: loads the server, waits until the main thread has given up its permissions, serves.
 * @param load Loads the server of that name.
 */
export async function serveConfined(
  load: (server: ServerName) => Promise<RunServer>,
  { err }: Pick<Io, "err">,
): Promise<void> {
  const scope = globalThis as unknown as WorkerScope;
  const run = await load(scope.name as ServerName);
  const network = new ToldNetwork();
  const { signals, stop, hurry, reload } = relayedSignals();
  scope.onmessage = ({ data }) => {
    switch (data.kind) {
      case "start":
        run(data.start, { signals, network }).catch((error) => reportFailure(error, { err })).then((
          exitCode,
        ) => scope.postMessage({ kind: "ended", exitCode }));
        break;
      case "network":
        network.texts = data.texts;
        break;
      case "ping":
        scope.postMessage({ kind: "pong" });
        break;
      case "reload":
        reload();
        break;
      case "stop":
        stop(data.signal);
        break;
      case "hurry":
        hurry();
        break;
    }
  };
  scope.postMessage({ kind: "ready" });
}
