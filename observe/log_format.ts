/**
 * One event as one line, for people or for programs.
 *
 * Values come from the network: nothing in them may end the line, move the cursor or turn the text round.
 *
 * @module
 */
import type { LogFields, LogLevel, LogValue } from "./log.ts";

/** An event, ready to be written. */
export interface LogEvent {
  /** Milliseconds since the Unix epoch. */
  readonly time: number;
  /** How grave. */
  readonly level: LogLevel;
  /** Its name, as in docs/logs.md. */
  readonly event: string;
  /** Its facts; `undefined` ones are left out. */
  readonly fields: LogFields;
}

/** Longest value that is written whole, in UTF-16 units; a longer one ends in `…`. */
export const MAX_VALUE_LENGTH = 4096;
/** Most elements of a list that are written; the rest is counted. */
export const MAX_LIST_LENGTH = 200;

// C0 and DEL, C1, line and paragraph separator, the marks and embeddings of Unicode's bidirectional algorithm, and
// the invisible characters that are used to make one text look like another.
// deno-lint-ignore no-control-regex
const UNSAFE = /[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/;
const UNSAFE_ALL = new RegExp(UNSAFE, "g");
// What a text value may hold without quotes.
const PLAIN = /^[^\s"'=\\,[\]]+$/u;
const RESERVED = new Set(["time", "level", "event"]);

/**
 * `{"time":"…","level":"info","event":"session.closed",…}`: always these three first. A field of the program that
 * has one of these names is written with `_` before it.
 */
export function formatJson({ time, level, event, fields }: LogEvent): string {
  const line: Record<string, unknown> = { time: new Date(time).toISOString(), level, event };
  for (const key in fields) {
    const value = fields[key];
    if (value !== undefined) line[RESERVED.has(key) ? `_${key}` : key] = shortened(value);
  }
  // JSON escapes C0 only.
  return escapeUnsafe(JSON.stringify(line));
}

/**
 * `2026-11-24T03:20:11.123Z INFO  session.closed session=x peer=192.0.2.1`. Values with spaces, `=`, quotes and the
 * like are quoted as in JSON. A `dialogue` event ends in its line as it was said, control characters escaped.
 */
export function formatText({ time, level, event, fields }: LogEvent): string {
  let line = `${new Date(time).toISOString()} ${level.toUpperCase().padEnd(5)} ${event}`;
  const spoken = event === "dialogue" && typeof fields.line === "string" ? fields.line : undefined;
  for (const key in fields) {
    const value = fields[key];
    if (value === undefined || (spoken !== undefined && key === "line")) continue;
    line += ` ${key}=${textValue(shortened(value))}`;
  }
  return spoken === undefined ? line : `${line} ${escapeUnsafe(shortenedText(spoken))}`;
}

function textValue(value: Exclude<LogValue, undefined>): string {
  if (typeof value === "string") return textString(value);
  if (value === null) return "-";
  if (typeof value === "object") return `[${value.map((item) => textValue(item)).join(",")}]`;
  return String(value);
}

function textString(text: string): string {
  return PLAIN.test(text) && !UNSAFE.test(text) && text !== "-" ? text : escapeUnsafe(JSON.stringify(text));
}

function escapeUnsafe(text: string): string {
  if (!UNSAFE.test(text)) return text;
  return text.replace(
    UNSAFE_ALL,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function shortened(value: Exclude<LogValue, undefined>): Exclude<LogValue, undefined> {
  if (typeof value === "string") return shortenedText(value);
  if (value === null || typeof value !== "object") return value;
  const items = value.slice(0, MAX_LIST_LENGTH).map((item) =>
    typeof item === "string" ? shortenedText(item) : item
  );
  if (value.length > MAX_LIST_LENGTH) items.push(`… ${value.length - MAX_LIST_LENGTH} more`);
  return items as readonly string[];
}

function shortenedText(text: string): string {
  return text.length > MAX_VALUE_LENGTH ? text.slice(0, MAX_VALUE_LENGTH) + "…" : text;
}
