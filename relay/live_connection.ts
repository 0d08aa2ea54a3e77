/**
 * A connection to a host between two messages.
 *
 * @module
 */
import type { NotedAnswers } from "../dns/noted_answers.ts";
import type { HostSlot } from "./host_slot.ts";
import type { Target } from "./target.ts";
import type { HostConnection } from "./transmit.ts";

/** A connection to one host, past greeting, EHLO, TLS and login. */
export type Connection =
  & Pick<HostConnection, "send" | "close" | "abort">
  & Partial<Pick<HostConnection, "closed">>;

/** A connection in use, with its place among those of its host. */
export interface LiveConnection {
  /** Where it leads. */
  readonly target: Target;
  /** The connection. */
  readonly connection: Connection;
  /** Its place among those of the host. */
  readonly slot: HostSlot;
  /** What led there. */
  readonly noted?: NotedAnswers;
  /** Messages sent over it. */
  sent: number;
  /** Whether it takes another one. */
  usable: boolean;
}

/** Closes a connection with QUIT, without waiting for the reply; its place is free when that is over. */
export function leave({ connection, slot }: LiveConnection): void {
  connection.close().finally(() => slot.release());
}

/** Lets a connection be used again where it can be, or ends it. */
export function keep(live: LiveConnection): LiveConnection | undefined {
  if (live.usable && !live.slot.resting()) return live;
  // The slot of a closed connection may be needed for a fresh one at once.
  if (!live.usable && live.connection.closed !== false) live.slot.release();
  leave(live);
  return undefined;
}
