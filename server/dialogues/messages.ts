/**
 * The messages between serve-in's thread and the threads that hold its dialogues. All of it is plain data.
 *
 * @module
 */
import type { FigureChange } from "../../base/thread_figures.ts";
import type { GreylistDecision, GreylistSender } from "../../checks/greylist.ts";
import type { Config } from "../../config/config.ts";
import type { NameParts } from "../../maildir/unique_name.ts";
import type { SharedCounts } from "../../smtp/shared_connection_counts.ts";
import type { SharedClaimsData } from "../../storage/shared_claims.ts";
import type { ExitCode } from "../exit_codes.ts";
import type { Endpoint } from "../listeners.ts";
import type { ServerStart } from "../server_start.ts";
import type { StopReason } from "../signals.ts";

/** The name of such a thread. */
export const DIALOGUES = "serve-in dialogues";

/** What such a thread is started with. */
export interface DialoguesStart
  extends Pick<ServerStart, "server" | "dnsServers" | "isTerminal" | "toJournal"> {
  /** Its number, from 0. The first one logs the listeners. */
  readonly thread: number;
  readonly config: Config;
  readonly endpoints: readonly Endpoint[];
  readonly nameParts: NameParts;
  readonly counts: SharedCounts;
  readonly claims: SharedClaimsData;
}

/** To it. `number`: of the answer. */
export type ToDialogues =
  | { readonly kind: "start"; readonly start: DialoguesStart }
  | { readonly kind: "follow"; readonly endpoints: readonly Endpoint[] }
  | { readonly kind: "reopen"; readonly number: number }
  | { readonly kind: "apply"; readonly number: number; readonly config: Config }
  /** Asks for the figures; an answer also shows that it is alive. */
  | { readonly kind: "figures"; readonly number: number }
  | { readonly kind: "greylist"; readonly number: number; readonly decision: GreylistDecision }
  | { readonly kind: "stop"; readonly reason: StopReason }
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
  | { readonly kind: "greylist"; readonly number: number; readonly sender: GreylistSender }
  | { readonly kind: "ended"; readonly figures: readonly FigureChange[] };
