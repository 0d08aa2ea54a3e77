/**
 * What a scheduler needs, and what it says of itself.
 *
 * @module
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { AttemptOptions, Connect } from "./attempt.ts";
import type { Refusal } from "./outcome.ts";
import type { Queue } from "./queue.ts";
import type { RetrySchedule } from "./retry_schedule.ts";
import type { ComposeNotice } from "./settle.ts";
import type { UndeliverableLimits } from "./undeliverable.ts";

/** What a scheduler needs. */
export interface SchedulerOptions {
  /** Where the messages are. */
  readonly queue: Queue;
  /** Tells and measures time. */
  readonly clock: Clock;
  /** Draws from [0, 1), for the jitter. */
  readonly random: () => number;
  /** Takes the events; docs/logs.md lists them. */
  readonly logger: Logger;
  /** When to try again, and when to give up. */
  readonly schedule: RetrySchedule;
  /** Finds the hosts of a domain. */
  readonly route: AttemptOptions["route"];
  /** Connects to one of them. */
  readonly connect: Connect;
  /**
   * Names the destination of a domain; not empty. Domains of the same destination share line, connections and
   * transactions, so their targets must be the same. Default: the domain itself.
   */
  readonly destinationOf?: (domain: string) => string;
  /** Writes notices to senders. */
  readonly compose: ComposeNotice;
  /** Is called with each recipient that a server refused, for good or for now. */
  readonly onRefusal?: (refusal: Refusal) => void;
  /** Connections to one host, at least 1; default 5. */
  readonly maxConnectionsPerHost?: number;
  /** Destinations served at once, at least 4; default 100. */
  readonly maxWorkers?: number;
  /** How much is held of what has no sender to be told; default `UNDELIVERABLE_LIMITS`. */
  readonly undeliverable?: UndeliverableLimits;
}

/** What of {@linkcode SchedulerOptions} may change while the scheduler runs. */
export type SchedulerSettings = Pick<
  SchedulerOptions,
  "schedule" | "route" | "connect" | "destinationOf" | "maxConnectionsPerHost" | "undeliverable"
>;

/** What a scheduler is doing. */
export interface SchedulerStatus {
  /** Messages (one for each of its destinations) that wait for their time. */
  readonly waiting: number;
  /** Those that are due and wait for their turn. */
  readonly ready: number;
  /** Workers under way. */
  readonly active: number;
}

/** One message as it waits for one destination. */
export interface QueuedItem {
  /** Milliseconds since it was accepted. */
  readonly age: number;
  /** The enhanced status code of its last attempt; absent where this process has not made one. */
  readonly status?: string | undefined;
}

/** What a scheduler has for one domain. */
export interface DomainStatus extends SchedulerStatus {
  /** When the first of those that wait is due, milliseconds since the epoch. */
  readonly nextAt?: number;
  /** Whether all wait for a host that is at its limit or paused. */
  readonly resting: boolean;
}
