/**
 * A rule on the value of settings.
 *
 * @module
 */
import type { Config } from "../config/config.ts";

/** What is wrong with some values, and what to write instead. */
export interface Rule {
  /** The id of the finding. */
  readonly id: string;
  /** The case that these values decide. */
  readonly tried: string;
  /** What comes of it; `undefined`: nothing is wrong. */
  readonly wrong: (config: Config) => string | undefined;
  /** What to change. */
  readonly next: string;
}

/** Milliseconds. */
export const SECOND = 1000;
/** Milliseconds. */
export const MINUTE = 60 * SECOND;
/** Milliseconds. */
export const HOUR = 60 * MINUTE;
/** Milliseconds. */
export const DAY = 24 * HOUR;

/** A time in hours, for people. */
export const hours = (ms: number): string => `${Math.round(ms / HOUR * 100) / 100} h`;
