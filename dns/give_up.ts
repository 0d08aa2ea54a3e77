/**
 * Waiting for an answer no longer than it is wanted.
 *
 * @module
 */
import { whenAborted } from "../base/when_aborted.ts";
import type { Answer } from "./resolver.ts";

/** The answer, or `failed` when the signal comes first. */
export function giveUpWith<T>(
  signal: AbortSignal | undefined,
  answer: Promise<Answer<T>>,
): Promise<Answer<T>> {
  if (signal === undefined) return answer;
  return new Promise((resolve, reject) => {
    const forget = whenAborted(signal, () => resolve({ kind: "failed", reason: "given up" }));
    answer.then((answered) => {
      forget();
      resolve(answered);
    }, (error) => {
      forget();
      reject(error);
    });
  });
}
