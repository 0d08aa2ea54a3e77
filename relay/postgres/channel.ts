/**
 * How the processes notify each other.
 *
 * @module
 */

/**
 * The channel of PostgreSQL. The payload is empty where entries have become free or are wanted; what else it may be is
 * in `host_slots.ts`.
 */
export const CHANNEL = "mailapp_queue";
