/**
 * Options of commands that read the log.
 *
 * @module
 */
import { InvalidArgumentError, Option } from "commander";
import { systemClock } from "../../base/clock.ts";
import { parseDuration } from "../../config/duration.ts";

/** A date, a time, or a duration before now; in milliseconds since the epoch. */
export function parseTime(text: string): number {
  const ago = parseDuration(text);
  if (ago !== undefined) return systemClock.now() - ago;
  const time = /^\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?Z?)?$/.test(text)
    ? Date.parse(`${text.slice(0, 10)}T${text.slice(11).replace("Z", "") || "00:00"}Z`)
    : NaN;
  if (!Number.isNaN(time)) return time;
  throw new InvalidArgumentError(
    "It must be a date or time in UTC, such as 2026-11-24T08:00Z, or a duration.",
  );
}

/** `--log FILE`, which may be repeated. */
export function logOption(): Option {
  return new Option(
    "--log <file>",
    "a log, with its rotated files; may be repeated (default: [log] file, or the journal)",
  ).argParser((file: string, files: readonly string[]) => [...files, file]).default([]);
}
