/**
 * Connections kept for a moment for the next message of any domain, since many domains have their mail at the same
 * hosts.
 *
 * @module
 */
import type { Clock, Timer } from "../base/clock.ts";
import { leave, type LiveConnection } from "./live_connection.ts";
import type { Target } from "./mx.ts";

// How long a connection waits, in milliseconds; as in Postfix.
const LINGER = 2000;
// The most idle connections; the oldest one is closed for a new one.
const MAX_IDLE = 100;
// The most destinations that are remembered.
const MAX_PLACES = 1000;

/** Idle connections. Each keeps its slot at its host. */
export class IdleConnections {
  readonly #clock: Clock;
  /** In the order in which they began to wait. */
  readonly #idle = new Map<LiveConnection, { readonly key: string; readonly timer: Timer }>();
  /** When a connection to each destination was last released, monotonic; oldest first. */
  readonly #doneAt = new Map<string, number>();

  /** `clock` times the wait. */
  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Takes over an idle connection. It is kept where mail flows to its destination, which is more than a single message
   * within two seconds, and no one else waits for its slot; otherwise it is closed.
   */
  offer(live: LiveConnection): void {
    const key = keyOf(live.target);
    const flows = this.#noteDone(key) || live.sent > 1;
    if (!flows || live.slot.wanted()) return leave(live);
    const timer = this.#clock.after(LINGER, () => this.#end(live));
    this.#idle.set(live, { key, timer });
    const [oldest] = this.#idle.keys();
    if (oldest !== undefined && this.#idle.size > MAX_IDLE) this.#end(oldest);
  }

  /** A connection to this target with the same requirements; not to a paused host. */
  take(target: Target): LiveConnection | undefined {
    if (this.#idle.size === 0) return undefined;
    const wanted = keyOf(target);
    let found: LiveConnection | undefined;
    for (const [live, { key }] of this.#idle) if (key === wanted) found = live;
    if (found === undefined) return undefined;
    if (found.slot.resting()) {
      this.#end(found);
      return undefined;
    }
    this.#idle.get(found)?.timer.cancel();
    this.#idle.delete(found);
    return found;
  }

  /** Closes those to the same host and port, whatever the requirements; whether there were any. */
  makeRoom({ host, port }: Target): boolean {
    const there = [...this.#idle.keys()].filter(({ target }) => target.host === host && target.port === port);
    for (const live of there) this.#end(live);
    return there.length > 0;
  }

  /** Closes all, since a slot is wanted or nothing more is sent. */
  clear(): void {
    for (const live of [...this.#idle.keys()]) this.#end(live);
  }

  /** Whether another connection to this destination was released a moment ago; notes this one. */
  #noteDone(key: string): boolean {
    const now = this.#clock.monotonic();
    const before = this.#doneAt.get(key);
    this.#doneAt.delete(key);
    this.#doneAt.set(key, now);
    const [oldest] = this.#doneAt.keys();
    if (oldest !== undefined && this.#doneAt.size > MAX_PLACES) this.#doneAt.delete(oldest);
    return before !== undefined && now - before < LINGER;
  }

  #end(live: LiveConnection): void {
    this.#idle.get(live)?.timer.cancel();
    if (this.#idle.delete(live)) leave(live);
  }
}

/**
 * Two targets with the same key may share a connection: same place, same name to verify, same policy, same login; and
 * no policy of one domain allows what that of the other forbids. It holds a password, and is not for the log.
 */
function keyOf(target: Target): string {
  const { host, address, port, tls, authenticated, configured, relaxed, sts, auth } = target;
  const forbidden = sts?.mode === "enforce" && !sts.allowed;
  const { user, password } = auth ?? {};
  const demands = [tls, authenticated, configured, relaxed, forbidden];
  return JSON.stringify([host, address, port, ...demands, user, password]);
}
