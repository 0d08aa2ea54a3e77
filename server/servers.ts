/**
 * The servers by name. A new one needs a line here, and a file that describes it ({@linkcode Server}).
 *
 * @module
 */
import type { HashingScope } from "../accounts/hashing_worker.ts";
import { DIALOGUES, INTAKE } from "./dialogues/messages.ts";
import type { Server } from "./server.ts";
import type { RunServer, ServerName } from "./server_start.ts";
import type { RunHelper } from "./threads.ts";

interface Entry {
  /** For `--help`. */
  readonly summary: string;
  /** Loads it, and nothing that only other servers need. */
  load(): Promise<Server>;
}

/** All servers, in the order in which they are listed. */
export const SERVERS: Readonly<Record<ServerName, Entry>> = {
  "serve-in": {
    summary: "receive mail from the Internet into Maildirs, until SIGTERM",
    load: async () => (await import("./serve_in.ts")).serveIn,
  },
  "serve-out": {
    summary: "accept mail from local programs on loopback and relay it, until SIGTERM",
    load: async () => (await import("./serve_out.ts")).serveOut,
  },
  "serve-submit": {
    summary: "accept mail from users who log in and pass it to serve-out, until SIGTERM",
    load: async () => (await import("./serve_submit.ts")).serveSubmit,
  },
  "serve-policy": {
    summary: "serve the MTA-STS policy of our domains over HTTPS, until SIGTERM",
    load: async () => (await import("./serve_policy.ts")).servePolicy,
  },
};

/** Their names. */
export const SERVER_NAMES = Object.keys(SERVERS) as readonly ServerName[];

/** Whether a word is the name of a server. */
export function isServerName(word: string | undefined): word is ServerName {
  return word !== undefined && Object.hasOwn(SERVERS, word);
}

/** All servers, loaded. */
export async function allServers(): Promise<readonly Server[]> {
  return await Promise.all(SERVER_NAMES.map((name) => SERVERS[name].load()));
}

/** Loads what runs in a server's thread. */
export async function loadServer(name: ServerName): Promise<RunServer> {
  return await (await SERVERS[name].load()).load();
}

/** Loads what runs in a thread that a server starts, by the thread's name; `undefined` for that of a server. */
export async function loadHelper(name: string): Promise<RunHelper | undefined> {
  if (name === DIALOGUES) {
    const { runServeInDialogues } = await import("./dialogues/serve_in_thread.ts");
    return (scope) => runServeInDialogues(scope as Parameters<typeof runServeInDialogues>[0]);
  }
  if (name === INTAKE) {
    const { runIntake } = await import("./dialogues/intake_thread.ts");
    return (scope) => runIntake(scope as Parameters<typeof runIntake>[0]);
  }
  if (name !== "hasher") return undefined;
  const { serveHashing } = await import("../accounts/hashing_worker.ts");
  return (scope) => serveHashing(scope as HashingScope);
}
