/**
 * The messages between the threads of a server. All of it is plain data; a server's thread is trusted only in that it
 * is alive or has ended.
 *
 * @module
 */
import type { ListenAddress } from "../net/interfaces.ts";
import type { ExitCode } from "./exit_codes.ts";
import type { Grants } from "./grants.ts";
import type { NetworkTexts } from "./network_files.ts";
import type { ServerStart } from "./server_start.ts";
import type { StopReason } from "./signals.ts";

/** To the thread of a server. */
export type ToServer =
  | { readonly kind: "start"; readonly start: ServerStart }
  /** The machine's routes and addresses, as they are now. */
  | { readonly kind: "network"; readonly texts: NetworkTexts }
  /** Where to listen from now on. */
  | { readonly kind: "addresses"; readonly addresses: readonly ListenAddress[] }
  | { readonly kind: "reload" }
  | { readonly kind: "ping" }
  | { readonly kind: "stop"; readonly reason: StopReason }
  | { readonly kind: "force" };

/** From it: its modules are loaded; it is alive; it has ended. */
export type FromServer =
  | { readonly kind: "ready" }
  | { readonly kind: "pong" }
  | { readonly kind: "ended"; readonly exitCode: ExitCode };

/** To the thread that starts a server's thread: the same, and first which server to load. */
export type ToLauncher = { readonly kind: "load"; readonly launch: Launch } | ToServer;

/** From it: ready to load; the messages of the server's thread; why that has crashed. */
export type FromLauncher =
  | { readonly kind: "launcher" }
  | FromServer
  | { readonly kind: "died"; readonly reason: string };

/** What starting a server's thread takes. */
export interface Launch {
  /** The module that every thread begins with. */
  readonly entry: string;
  /** Which server. */
  readonly server: ServerStart["server"];
  /** What its thread may touch. */
  readonly grants: Grants;
}

/** Starts a thread with exactly these grants. */
export function startThread(
  entry: string,
  { name, grants }: { readonly name: string; readonly grants: Grants },
): Worker {
  const { net, read, write, sys, run = false, env = false } = grants;
  const permissions = { net, read, write, sys, run, env, ffi: false, import: false };
  return new Worker(threadModule(entry, name), {
    type: "module",
    name,
    deno: { permissions },
  } as WorkerOptions);
}

/**
 * The module that the thread of this name begins with: the program's, but that the portable form has one for each
 * (build/thread_modules.ts).
 */
export function threadModule(entry: string, name: string): string {
  const { mailappBuild: build } = globalThis as { readonly mailappBuild?: { readonly form: string } };
  return build?.form === "portable" ? new URL(threadFile(name), entry).href : entry;
}

/** The name of its file there. */
export function threadFile(name: string): string {
  return `thread-${name.replaceAll(" ", "-")}.js`;
}

/** The side of a worker's global scope that is needed; the libraries of the browser's window do not have it. */
export interface ThreadScope<To, From> {
  /** The name of the thread. */
  readonly name: string;
  /** Sends to the thread that started this one. */
  postMessage(message: From): void;
  /** Receives from it. */
  onmessage: ((event: MessageEvent<To>) => void) | null;
}

/** Runs a helper thread of a server, which communicates over the global scope. */
export type RunHelper = (scope: unknown) => void;

/** The modules of the program, which a thread that starts another one must be able to read. */
export function programFiles(): string[] {
  const { protocol, pathname } = new URL("..", import.meta.url);
  return protocol === "file:" ? [decodeURIComponent(pathname)] : [];
}
