/**
 * How a queue in PostgreSQL is opened, and what it demands of the database.
 *
 * @module
 */
import type { Logger } from "../../base/log.ts";
import type { QueueEntry } from "../queue_entry.ts";
import type { DatabaseOptions } from "./database.ts";

/** How to open a queue in PostgreSQL. */
export interface PostgresQueueOptions extends DatabaseOptions {
  /** A folder of this host for messages that are being received and too large for memory; made when needed. */
  readonly directory: string;
  /** What `queue hosts` calls this process. */
  readonly hostname: string;
  /** The version of the program. */
  readonly program: string;
  /** Where damage, failures and changes of owners are told. */
  readonly logger: Logger;
  /** Milliseconds for which this process owns its entries without renewing that; at least 3,000, default 30,000. */
  readonly lease?: number;
  /** The longest wait for the answer to a final dot, in milliseconds; default 600,000. */
  readonly dotTimeout?: () => number;
  /** Milliseconds from a dot without an answer to the next attempt, at least; default 60,000. */
  readonly resendAfter?: () => number;
  /** Whether `synchronous_standby_names` must be set; default true. */
  readonly needsStandby?: boolean;
}

/** An entry as anybody may see it. */
export interface EntryView {
  readonly entry: QueueEntry;
  /** The host that has it; absent: none. */
  readonly host?: string;
  /** Recipients (indices) whose final dot has no answer yet. */
  readonly sending: readonly number[];
}

/** The database does not keep what it was to keep. */
export class DurabilityError extends Error {
  /** `message` says what to do. */
  constructor(message: string) {
    super(message);
    this.name = "DurabilityError";
  }
}

/** Why nothing is accepted. */
export const NO_STANDBY =
  "the database has no synchronous standby (synchronous_standby_names is empty): what only the primary has is " +
  'lost with it; [queue] durability = "primary" accepts that';
