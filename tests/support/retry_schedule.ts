/**
 * The schedule that tests of the relay go by.
 *
 * @module
 */
import type { RetrySchedule } from "../../relay/retry_schedule.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** 1, 5, 15, 30 minutes, 1, 2 hours, then every 4; 5 days; a notice after 4 hours. */
export const SCHEDULE: RetrySchedule = {
  delays: [1, 5, 15, 30, 60, 120, 240].map((minutes) => minutes * MINUTE),
  expireAfter: 120 * HOUR,
  delayNoticeAfter: 4 * HOUR,
};
