/**
 * The messages between a server's thread and the threads that hold its dialogues. All of it is plain data.
 *
 * @module
 */
import type { FigureChange } from "../../base/thread_figures.ts";
import type { Config } from "../../config/config.ts";
import type { NameParts } from "../../maildir/unique_name.ts";
import type { IntakeShare } from "../../relay/spool/intake_queue.ts";
import type { SharedCounts } from "../../smtp/shared_connection_counts.ts";
import type { SharedClaimsData } from "../../storage/shared_claims.ts";
import type { ExitCode } from "../exit_codes.ts";
import type { Endpoint } from "../listeners.ts";
import type { ServerStart } from "../server_start.ts";
import type { StopReason } from "../signals.ts";

/** The name of such a thread of serve-in. */
export const DIALOGUES = "serve-in dialogues";

/** The name of such a thread of serve-out. */
export const INTAKE = "serve-out dialogues";

/** What such a thread is started with. */
export interface DialoguesStart
  extends Pick<ServerStart, "server" | "dnsServers" | "isTerminal" | "toJournal"> {
  /** Its number, from 0. The first one logs the listeners. */
  readonly thread: number;
  readonly config: Config;
  readonly endpoints: readonly Endpoint[];
  readonly counts: SharedCounts;
  readonly claims: SharedClaimsData;
}

/** What a thread of serve-in is started with. */
export interface ServeInDialoguesStart extends DialoguesStart {
  readonly nameParts: NameParts;
}

/** What a thread of serve-out is started with. */
export interface IntakeStart extends DialoguesStart {
  readonly systemHostname: string;
  readonly queue: IntakeShare;
}

/** To it. `number`: of the answer. */
export type ToDialogues<Start = DialoguesStart> =
  | { readonly kind: "start"; readonly start: Start }
  | { readonly kind: "follow"; readonly endpoints: readonly Endpoint[] }
  | { readonly kind: "reopen"; readonly number: number }
  | { readonly kind: "apply"; readonly number: number; readonly config: Config }
  /** Asks for the figures; an answer also shows that it is alive. */
  | { readonly kind: "figures"; readonly number: number }
  /** To a question; `undefined` where it made no sense. */
  | { readonly kind: "answer"; readonly number: number; readonly answer: unknown }
  /** `accepting`: new connections are accepted until `refuse`, within the grace period. */
  | { readonly kind: "stop"; readonly reason: StopReason; readonly accepting: boolean }
  | { readonly kind: "refuse" }
  | { readonly kind: "force" };

/** From it. */
export type FromDialogues =
  /** Its modules are loaded. */
  | { readonly kind: "loaded" }
  /** It listens. */
  | { readonly kind: "ready" }
  /** It cannot start. */
  | { readonly kind: "failed"; readonly error: string; readonly exitCode: ExitCode }
  | { readonly kind: "done"; readonly number: number; readonly figures: readonly FigureChange[] }
  /** Asks the server's thread. */
  | { readonly kind: "question"; readonly number: number; readonly question: unknown }
  | { readonly kind: "ended"; readonly figures: readonly FigureChange[] };
