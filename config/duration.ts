/**
 * Durations as written in the configuration.
 *
 * @module
 */

const UNITS: Readonly<Record<string, number>> = { s: 1e3, m: 60e3, h: 3600e3, d: 86400e3 };

/** What `parseDuration` takes, for messages. */
export const DURATION_FORM = 'a duration such as "90s", "5m", "4h" or "5d"';

/** Milliseconds of a duration such as `"90s"`, `"5m"`, `"4h"`, `"5d"`; `undefined` for anything else. */
export function parseDuration(value: unknown): number | undefined {
  if (typeof value !== "string") return undefined;
  const [, digits, unit] = /^(\d{1,9})([smhd])$/.exec(value) ?? [];
  if (digits === undefined || unit === undefined) return undefined;
  return Number(digits) * (UNITS[unit] ?? 1);
}

/** A duration as `parseDuration` reads it, in the largest unit that holds it exactly; whole seconds only. */
export function formatDuration(ms: number): string {
  for (const unit of ["d", "h", "m"]) {
    const factor = UNITS[unit] ?? 1;
    if (ms >= factor && ms % factor === 0) return `${ms / factor}${unit}`;
  }
  return `${ms / 1e3}s`;
}
