/**
 * Sizes as people write them.
 *
 * @module
 */

const UNITS: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};

/** What `parseSize` takes, for messages. */
export const SIZE_FORM = 'a size such as "50MiB" or "10MB", or a number of bytes';

/**
 * Octets of a size: a whole number, or a string such as `"50MiB"` (1024s) or `"10MB"` (1000s).
 * `undefined` for anything else, and for what no integer holds exactly.
 */
export function parseSize(value: unknown): number | undefined {
  if (typeof value === "number") return Number.isSafeInteger(value) && value >= 0 ? value : undefined;
  if (typeof value !== "string") return undefined;
  const [, digits, unit] = /^(\d{1,15}) ?([A-Za-z]{1,3})$/.exec(value) ?? [];
  if (digits === undefined || unit === undefined) return undefined;
  const factor = Object.hasOwn(UNITS, unit) ? UNITS[unit] : undefined;
  if (factor === undefined) return undefined;
  const octets = Number(digits) * factor;
  return Number.isSafeInteger(octets) ? octets : undefined;
}

/** A size as `parseSize` reads it, in the largest unit that holds it exactly. */
export function formatSize(octets: number): string {
  for (const unit of ["TiB", "GiB", "MiB", "KiB", "TB", "GB", "MB", "KB"]) {
    const factor = UNITS[unit] ?? 1;
    if (octets >= factor && octets % factor === 0) return `${octets / factor}${unit}`;
  }
  return `${octets}B`;
}
