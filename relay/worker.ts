/**
 * Works off a destination's turn: one message of its line after the other, over the same connection while it lasts.
 *
 * @module
 */
import { leave, type LiveConnection } from "./live_connection.ts";
import type { Turn } from "./destinations.ts";
import type { IdleConnections } from "./idle_connections.ts";

/** The result of sending one message. */
export interface SentItem {
  /** The connection, if it can be used again. */
  readonly live?: LiveConnection;
  /** Nothing could be tried before the `HostTable` says so for this key. */
  readonly wait?: string;
  /** When what happened to it is on disk. */
  readonly stored: Promise<void>;
}

/** What {@linkcode work} needs. */
export interface WorkerOptions<T> {
  /** Sends one message, over this connection if there is one. Never throws. */
  readonly send: (item: T, live: LiveConnection | undefined) => Promise<SentItem>;
  /** Where a connection waits for the next message. */
  readonly idle: Pick<IdleConnections, "offer">;
  /** No more messages are begun once it is aborted. */
  readonly stopping: AbortSignal;
}

const MAX_MESSAGES_PER_CONNECTION = 100;
// How many messages are sent before others get the place, if any wait.
const MESSAGES_PER_TURN = 10;

/** Whether another process waits for its slot, and it has been of use here. */
function isWanted({ sent, slot }: LiveConnection): boolean {
  return sent >= MESSAGES_PER_TURN && slot.contested();
}

/**
 * Works until the line is empty, its host has to be waited for, or others have the turn. The caller ends the turn.
 * @throws what storing the last message's outcome throws
 */
export async function work<T>(turn: Turn<T>, { send, idle, stopping }: WorkerOptions<T>): Promise<void> {
  let live: LiveConnection | undefined;
  let storing: Promise<void> = Promise.resolve();
  let served = 0;
  try {
    for (let item: T | undefined = turn.first; item !== undefined; item = turn.take()) {
      const sent: SentItem = await send(item, live);
      live = sent.live;
      served++;
      if (sent.wait !== undefined) {
        turn.park(item, sent.wait);
        break;
      }
      // The disk may be at work on one message while the next one is sent, no more.
      await storing;
      storing = sent.stored;
      if (!turn.more() || stopping.aborted) break;
      if (live !== undefined && (live.sent >= MAX_MESSAGES_PER_CONNECTION || isWanted(live))) {
        leave(live);
        live = undefined;
      }
      if (turn.othersWait() && (live === undefined || served >= MESSAGES_PER_TURN)) break;
    }
  } finally {
    if (live !== undefined) {
      if (stopping.aborted || live.sent >= MAX_MESSAGES_PER_CONNECTION) leave(live);
      else idle.offer(live);
    }
    turn.wakeNext();
    await storing;
  }
}
