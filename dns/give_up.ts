/**
 * Waiting for an answer no longer than it is wanted.
 *
 * @module
 */
import type { Answer } from "./resolver.ts";

/** The answer, or `failed` when the signal comes first. */
export async function giveUpWith<T>(
  signal: AbortSignal | undefined,
  answer: Promise<Answer<T>>,
): Promise<Answer<T>> {
  if (signal === undefined) return await answer;
  const { promise, resolve } = Promise.withResolvers<Answer<T>>();
  const giveUp = () => resolve({ kind: "failed", reason: "given up" });
  signal.addEventListener("abort", giveUp, { once: true });
  if (signal.aborted) giveUp();
  try {
    return await Promise.race([answer, promise]);
  } finally {
    signal.removeEventListener("abort", giveUp);
  }
}
