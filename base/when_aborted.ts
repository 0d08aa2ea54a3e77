/**
 * Callbacks at the end of a signal that lives long and is waited for often, such as that of a server's stop.
 *
 * @module
 */

const waiting = new WeakMap<AbortSignal, Set<() => void>>();

/**
 * Calls back once when the signal is aborted, at once if it is already; not after the result has been called. Costs a
 * fraction of `addEventListener`, whose list is searched for each listener that is added or removed.
 * @param callback must not throw
 */
export function whenAborted(signal: AbortSignal, callback: () => void): () => void {
  if (signal.aborted) {
    callback();
    return () => {};
  }
  const known = waiting.get(signal);
  const callbacks = known ?? listenTo(signal);
  // Of its own, so that the same function may be given twice.
  const entry = () => callback();
  callbacks.add(entry);
  return () => void callbacks.delete(entry);
}

function listenTo(signal: AbortSignal): Set<() => void> {
  const callbacks = new Set<() => void>();
  waiting.set(signal, callbacks);
  signal.addEventListener("abort", () => {
    const all = [...callbacks];
    callbacks.clear();
    for (const callback of all) callback();
  }, { once: true });
  return callbacks;
}
