/**
 * Starts the threads that hold the dialogues of serve-out, and gives the messages that they have written their places.
 *
 * @module
 */
import type { Logger } from "../../base/log.ts";
import type { QueueSummary } from "../../relay/queue.ts";
import type { Entered, FinishedMessage } from "../../relay/spool/intake_queue.ts";
import type { Spool } from "../../relay/spool/spool.ts";
import { createSharedClaims } from "../../storage/shared_claims.ts";
import type { Endpoint } from "../listeners.ts";
import type { ServerStart } from "../server_start.ts";
import { startThread } from "../threads.ts";
import { intakeGrants } from "./intake_grants.ts";
import { INTAKE } from "./messages.ts";
import { DialogueThreads } from "./threads.ts";

/** What {@linkcode openIntakeThreads} needs. */
export interface IntakeThreadsOptions {
  /** How many, at least 2. */
  readonly count: number;
  /** The module that every thread begins with. */
  readonly entry: string;
  readonly endpoints: readonly Endpoint[];
  readonly spool: Spool;
  /** Called with each durable message, so that it is sent at once. */
  readonly accepted: (summary: QueueSummary) => void;
  readonly logger: Logger;
}

/**
 * Starts the threads; resolves when all of them listen.
 * @throws {CommandError} as {@linkcode DialogueThreads.open}
 */
export async function openIntakeThreads(
  start: ServerStart,
  { count, entry, endpoints, spool, accepted, logger }: IntakeThreadsOptions,
): Promise<DialogueThreads> {
  const { config, systemHostname } = start;
  const grants = intakeGrants(config, endpoints);
  return await DialogueThreads.open({
    count,
    startThread: () => startThread(entry, { name: INTAKE, grants }),
    start,
    config,
    endpoints,
    clients: config.serveOut.maxConnections,
    claims: createSharedClaims({ threads: count + 1, paths: 1 }),
    startData: () => ({ systemHostname, queue: spool.intakeShare() }),
    answer: async (question, thread): Promise<Entered> => {
      const { entered, summary } = await spool.enterFrom(thread, question as FinishedMessage);
      // Before the client is told, as without threads.
      if (summary !== undefined) accepted(summary);
      return entered;
    },
    forget: (thread) => spool.forgetIntake(thread),
    logger,
  });
}
