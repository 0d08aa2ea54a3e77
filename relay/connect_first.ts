/**
 * Connects to whichever address of a host answers first (RFC 8305): where one address is silent, the next is tried
 * in parallel.
 *
 * @module
 */
import type { Clock, Timer } from "../base/clock.ts";
import type { Dial } from "../net/dial.ts";
import { DeadlineError, type Transport } from "../net/transport.ts";
import type { Target } from "./mx.ts";

/** An address that gave no connection. */
export interface Unconnected {
  /** The address. */
  readonly target: Target;
  /** When it was asked, milliseconds since the epoch. */
  readonly at: number;
  /** Why there is none. */
  readonly error: unknown;
  /** Whether it did not answer before another one did, or before the timeout. */
  readonly silent: boolean;
}

/** The result: `connection` is absent where no address gave one. */
export interface ConnectResult {
  /** The first connection; all others are abandoned. */
  readonly connection?: { readonly target: Target; readonly transport: Transport };
  /** The other addresses that were tried. */
  readonly unconnected: readonly Unconnected[];
}

/** What {@linkcode connectFirst} needs. */
export interface ConnectOptions {
  /** Connects, or waits as long as a connection may take. */
  readonly dial: Dial;
  /** Measures the time between two addresses. */
  readonly clock: Clock;
  /** Abandons the attempt. */
  readonly signal?: AbortSignal;
  /** The next address to try beside those that are silent; `undefined` when there is none, or no place for it. */
  readonly alternate?: () => Target | undefined;
}

// Milliseconds. RFC 8305 §8 has 250 for programs that a person waits for, and 2,000 at most.
const HEAD_START = 2_000;
const MAX_AT_ONCE = 3;

/**
 * Connects to an address, after two seconds of silence to the next one as well, and so on. Where the only one that is
 * being tried fails, no other is begun. Never throws.
 */
export function connectFirst(first: Target, options: ConnectOptions): Promise<ConnectResult> {
  const { dial, clock, signal, alternate } = options;
  const { promise, resolve } = Promise.withResolvers<ConnectResult>();
  const pending = new Map<Target, { readonly at: number; readonly abandon: AbortController }>();
  const unconnected: Unconnected[] = [];
  let timer: Timer | undefined;
  let over = false;

  const end = (connection?: { readonly target: Target; readonly transport: Transport }) => {
    over = true;
    timer?.cancel();
    signal?.removeEventListener("abort", abandonAll);
    resolve({ ...(connection && { connection }), unconnected });
  };
  const abandonAll = () => {
    for (const { abandon } of pending.values()) abandon.abort();
  };
  const won = (target: Target, transport: Transport) => {
    pending.delete(target);
    if (over) return transport.close();
    for (const [slow, { at }] of pending) {
      const error = new DeadlineError("no answer before another address gave one");
      unconnected.push({ target: slow, at, error, silent: true });
    }
    end({ target, transport });
    abandonAll();
  };
  const lost = (target: Target, error: unknown) => {
    const { at = clock.now() } = pending.get(target) ?? {};
    pending.delete(target);
    if (over) return;
    unconnected.push({ target, at, error, silent: error instanceof DeadlineError });
    if (pending.size === 0) end();
    else next();
  };
  const next = () => {
    const target = pending.size < MAX_AT_ONCE && !signal?.aborted ? alternate?.() : undefined;
    if (target !== undefined) return begin(target);
    // There may be a place later.
    timer?.cancel();
    if (alternate !== undefined) timer = clock.after(HEAD_START, next);
  };
  const begin = (target: Target) => {
    const abandon = new AbortController();
    pending.set(target, { at: clock.now(), abandon });
    const { address, port } = target;
    dial({ address, port }, { signal: abandon.signal }).then(
      (transport) => won(target, transport),
      (error) => lost(target, error),
    );
    timer?.cancel();
    if (alternate !== undefined) timer = clock.after(HEAD_START, next);
  };

  signal?.addEventListener("abort", abandonAll, { once: true });
  begin(first);
  if (signal?.aborted) abandonAll();
  return promise;
}
