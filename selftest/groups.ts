/**
 * The groups of the self-test's cases.
 *
 * @module
 */

/** The groups of cases, in the order in which they are listed. */
export const GROUPS = [
  "setting",
  "receive",
  "forged",
  "list",
  "limit",
  "greylist",
  "slow",
  "fault",
  "send",
  "submit",
  "policy",
] as const;

/** One of them. */
export type Group = typeof GROUPS[number];
