/**
 * Accepts connections; survives failures of single ones, and shortage of descriptors or memory.
 *
 * @module
 */
import type { Clock } from "../base/clock.ts";
import { errorText } from "../base/error_text.ts";
import type { Logger } from "../base/log.ts";

/** What {@linkcode acceptAll} needs. */
export interface AcceptOptions {
  /** Takes ownership of each connection; never throws. */
  readonly admit: (conn: Deno.Conn) => void;
  /** Whether to stop; asked before each connection. */
  readonly ended: () => boolean;
  /**
   * Whether other threads that accept from the same socket should get the next connection; asked after each. This one
   * accepts again a moment later.
   */
  readonly leavesNext?: (() => boolean) | undefined;
  /** Measures the pauses. */
  readonly clock: Clock;
  /** Takes `accept.failed`, `accept.recovered`, `accept.lost`. */
  readonly logger: Logger;
}

// In milliseconds. Long enough for a thread that sleeps to wake up; not felt where no other thread takes the connection.
const LEAVE = 2;
// Without descriptors or memory for a connection the next attempt would fail the same way.
const PAUSE = 200;
// Shortages on our side (accept(2)). Any other failure concerns the one connection, such as a reset by its peer.
const LACKS: ReadonlySet<unknown> = new Set(["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"]);
// Failed connections in a row after which the event loop gets its turn.
const FAILURES_A_TURN = 16;

/** Accepts until the listener is closed, or `ended`. Never throws. */
export async function acceptAll(
  listener: Pick<Deno.Listener, "accept">,
  { admit, ended, leavesNext, clock, logger }: AcceptOptions,
): Promise<void> {
  let lacking = false;
  let failures = 0;
  while (!ended()) {
    let conn: Deno.Conn;
    try {
      conn = await listener.accept();
      if (lacking) logger.info("accept.recovered");
      lacking = false;
    } catch (error) {
      if (ended() || error instanceof Deno.errors.BadResource) return;
      if (!LACKS.has((error as { code?: unknown } | null)?.code)) {
        logger.debug("accept.lost", { error: errorText(error) });
        if (++failures % FAILURES_A_TURN === 0) await new Promise((resolve) => setTimeout(resolve, 0));
        continue;
      }
      if (!lacking) {
        logger.error("accept.failed", { error: errorText(error), action: "pausing until some are free" });
      }
      lacking = true;
      await pause(clock, PAUSE);
      continue;
    }
    admit(conn);
    if (leavesNext?.()) await pause(clock, LEAVE);
  }
}

async function pause(clock: Clock, ms: number): Promise<void> {
  // The clock's timers do not keep the process alive, and while nothing is being accepted nothing else may do so.
  const alive = setInterval(() => {}, 2 ** 31 - 1);
  await new Promise<void>((resolve) => void clock.after(ms, resolve));
  clearInterval(alive);
}
