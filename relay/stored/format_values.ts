/**
 * Reads single values of the spool's files, which may be damaged.
 *
 * @module
 */

/** A file of the spool says what it must not say. The message is the reason, for the log. */
export class SpoolFormatError extends Error {
  /** The reason is a phrase such as `cut short`. */
  constructor(reason: string) {
    super(reason);
    this.name = "SpoolFormatError";
  }
}

/**
 * Refuses keys that are not known: a flipped bit may hit a name, "check" included.
 * @throws {SpoolFormatError}
 */
export function checkKeys(value: Record<string, unknown>, known: ReadonlySet<string>): void {
  for (const key in value) {
    if (!known.has(key)) throw new SpoolFormatError(`unknown key ${JSON.stringify(key.slice(0, 40))}`);
  }
}

/**
 * A string.
 * @throws {SpoolFormatError}
 */
export function string(value: unknown, name: string): string {
  if (typeof value === "string") return value;
  throw new SpoolFormatError(`${name} is not a string`);
}

/**
 * A whole number, 0 or more.
 * @throws {SpoolFormatError}
 */
export function integer(value: unknown, name: string): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw new SpoolFormatError(`${name} is not a whole number`);
}

/** The end of the year 9999, in milliseconds since the epoch: later times cannot be written as dates of four digits. */
export const LATEST_TIME = 253_402_300_799_999;

/**
 * A time, in milliseconds since the epoch.
 * @throws {SpoolFormatError}
 */
export function time(value: unknown, name: string): number {
  const read = integer(value, name);
  if (read <= LATEST_TIME) return read;
  throw new SpoolFormatError(`${name} is not a time`);
}

/**
 * True or false.
 * @throws {SpoolFormatError}
 */
export function boolean(value: unknown, name: string): boolean {
  if (typeof value === "boolean") return value;
  throw new SpoolFormatError(`${name} is not true or false`);
}

/**
 * A list of anything.
 * @throws {SpoolFormatError}
 */
export function list(value: unknown, name: string): unknown[] {
  if (Array.isArray(value)) return value;
  throw new SpoolFormatError(`${name} is not a list`);
}

/**
 * An object.
 * @throws {SpoolFormatError}
 */
export function record(value: unknown, name: string): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw new SpoolFormatError(`${name} is not an object`);
}

/**
 * One of these values.
 * @throws {SpoolFormatError}
 */
export function oneOf<T extends string>(value: unknown, allowed: readonly T[], name: string): T {
  const found = allowed.find((item) => item === value);
  if (found !== undefined) return found;
  throw new SpoolFormatError(`${name} has an unknown value`);
}
