/**
 * How many threads hold the dialogues of a server.
 *
 * @module
 */
import type { Config } from "../../config/config.ts";

/** Cores up to which one thread is used: disk and network have threads of their own, and need the other core. */
const FEW_CORES = 2;
/** Threads of "auto" at most; each takes memory, and a disk is full before. */
const MOST = 8;
/** The same for serve-out: one thread sends what all others take, and is busy before they are. */
const MOST_TAKING = 2;

/**
 * The number of threads of serve-in; 1: its own.
 * @param cores those that the process may use
 */
export function dialogueThreads({ serveIn: { threads } }: Config, cores?: number): number {
  return threads === "auto" ? threadsFor(cores) : threads;
}

/** As {@linkcode dialogueThreads}, of serve-out. A queue in PostgreSQL has no threads: "auto" is 1 then. */
export function intakeThreads({ serveOut: { threads }, queue }: Config, cores?: number): number {
  if (threads !== "auto") return threads;
  return queue.store === "spool" ? Math.min(threadsFor(cores), MOST_TAKING) : 1;
}

function threadsFor(cores: number = navigator.hardwareConcurrency): number {
  return cores <= FEW_CORES ? 1 : Math.min(cores - 1, MOST);
}
