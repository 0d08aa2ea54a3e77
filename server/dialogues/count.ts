/**
 * How many threads hold the dialogues of serve-in.
 *
 * @module
 */
import type { Config } from "../../config/config.ts";

/** Cores up to which one thread is used: disk and network have threads of their own, and need the other core. */
const FEW_CORES = 2;
/** Threads of "auto" at most; each takes memory, and a disk is full before. */
const MOST = 8;

/**
 * The number of threads; 1: serve-in's own.
 * @param cores those that the process may use
 */
export function dialogueThreads(
  { serveIn: { threads } }: Config,
  cores: number = navigator.hardwareConcurrency,
): number {
  if (threads !== "auto") return threads;
  return cores <= FEW_CORES ? 1 : Math.min(cores - 1, MOST);
}
